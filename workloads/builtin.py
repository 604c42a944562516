"""Workloads that need no file."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.errors import WorkloadError, did_you_mean
from workloads.workload import Workload

# Illustrative, not fitted to a trace.
SYSTEM_PROMPT_TOKENS = (256, 2048)  # uniform: least, most
USER_TOKENS = (60.0, 1.0)  # lognormal: median, sigma
OUTPUT_TOKENS = (200.0, 0.8)  # lognormal: median, sigma


def shared_prefix_chat(
    requests: int = 2000,
    seed: int = 0,
    rate_per_s: float = 8.0,
    clients: int = 32,
    zipf_exponent: float = 1.0,
    mean_turns: float = 4.0,
    mean_think_s: float = 10.0,
) -> Workload:
    """Chat clients of Zipf popularity, each with its own system prompt, in closed-loop conversations.

    Conversations start as a Poisson process of rate `rate_per_s / mean_turns`, so that about `rate_per_s`
    requests come per second once the first conversations have got going. A conversation has a geometric
    number of turns; the prompt of a turn is all that was said before and a lognormal number of new tokens;
    think times are exponential. Rows are the conversations in order of their start, turn by turn, cut after
    `requests` rows.

    Every client and purpose draws from its own stream: what the j-th conversation of a client looks like
    depends on the seed and the means, not on the numbers of clients and requests. Raises WorkloadError for a
    parameter out of range.
    """
    _require_at_least(1, requests=requests, clients=clients, mean_turns=mean_turns)
    _require_at_least(0, zipf_exponent=zipf_exponent, mean_think_s=mean_think_s)
    if not 0 < rate_per_s < float("inf"):
        raise WorkloadError(f"shared_prefix_chat: rate_per_s must be a positive number, got {rate_per_s}")
    start_stream, choice_stream, *client_seeds = np.random.SeedSequence(seed).spawn(2 + clients)
    streams = [[np.random.default_rng(child) for child in client_seed.spawn(5)] for client_seed in client_seeds]

    # Conversations; there are no more than requests, as each has a turn.
    start_s = np.cumsum(np.random.default_rng(start_stream).exponential(mean_turns / rate_per_s, requests))
    popularity = np.cumsum(np.arange(1.0, clients + 1) ** -zipf_exponent)
    choice = np.random.default_rng(choice_stream).random(requests)
    client = np.searchsorted(popularity / popularity[-1], choice, side="right")
    turns = np.zeros(requests, np.int64)
    for c, (_, turns_rng, *_) in enumerate(streams):
        mine = np.flatnonzero(client == c)
        turns[mine] = turns_rng.geometric(1 / mean_turns, len(mine))
    conversations = int(np.searchsorted(np.cumsum(turns), requests)) + 1
    start_s, client, turns = start_s[:conversations], client[:conversations], turns[:conversations]
    turns[-1] -= turns.sum() - requests

    # Requests.
    session = np.repeat(np.arange(conversations), turns)
    row = np.arange(requests)
    first_row = np.cumsum(turns) - turns  # of a conversation
    turn = row - first_row[session]
    system_tokens = np.zeros(clients, np.int64)
    user_tokens, output_tokens = np.zeros(requests, np.int64), np.zeros(requests, np.int64)
    think_s = np.zeros(requests)
    for c, (system_rng, _, user_rng, output_rng, think_rng) in enumerate(streams):
        mine = np.flatnonzero(client[session] == c)
        system_tokens[c] = system_rng.integers(*SYSTEM_PROMPT_TOKENS, endpoint=True)
        user_tokens[mine] = _lognormal(user_rng, *USER_TOKENS, len(mine))
        output_tokens[mine] = _lognormal(output_rng, *OUTPUT_TOKENS, len(mine))
        think_s[mine] = think_rng.exponential(mean_think_s, len(mine))
    said_before = np.cumsum(user_tokens + output_tokens) - user_tokens - output_tokens
    input_tokens = system_tokens[client[session]] + said_before - said_before[first_row[session]] + user_tokens

    # A follow-up continues its parent; a first turn shares the system prompt with its client's first request.
    follow_up = turn > 0
    known_clients, first_conversation = np.unique(client, return_index=True)
    first_of_client = np.full(clients, -1)
    first_of_client[known_clients] = first_row[first_conversation]
    sharer = first_of_client[client[session]]
    prefix_request = np.where(follow_up, row - 1, np.where(sharer < row, sharer, -1))
    whole_parent = input_tokens[row - 1] + output_tokens[row - 1]
    shared_tokens = np.where(follow_up, whole_parent, system_tokens[client[session]])
    return Workload.build(
        arrival_s=np.where(follow_up, np.nan, start_s[session]),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        category_names=("chat",),
        client=client[session],
        session=session,
        turn=turn,
        parent=np.where(follow_up, row - 1, -1),
        think_s=np.where(follow_up, think_s, 0.0),
        prefix_request=prefix_request,
        prefix_tokens=np.where(prefix_request >= 0, shared_tokens, 0),
    )


def _lognormal(rng: np.random.Generator, median: float, sigma: float, size: int) -> NDArray[np.int64]:
    """Token counts, at least 1."""
    return np.ceil(rng.lognormal(np.log(median), sigma, size)).astype(np.int64)


def _require_at_least(least: int, **parameters: float) -> None:
    for name, value in parameters.items():
        if not least <= value < float("inf"):
            raise WorkloadError(f"shared_prefix_chat: {name} must be a number from {least} on, got {value}")


BUILTINS: dict[str, Callable[..., Workload]] = {"shared-prefix-chat": shared_prefix_chat}


def generate(name: str, seed: int, **options: Any) -> Workload:
    """The built-in workload called `name`; `options` are the other parameters of its function.

    Raises WorkloadError for an unknown name or option.
    """
    if name not in BUILTINS:
        raise WorkloadError(f"unknown built-in workload '{name}'; {did_you_mean(name, BUILTINS)}")
    parameters = inspect.signature(BUILTINS[name]).parameters
    known = [parameter for parameter in parameters if parameter != "seed"]
    for option, value in options.items():
        if option not in known:
            raise WorkloadError(f"unknown option '{option}' of workload '{name}'; {did_you_mean(option, known)}")
        expected = type(parameters[option].default)
        if isinstance(value, bool) or not isinstance(value, (int, expected)):
            raise WorkloadError(f"option '{option}' of workload '{name}': expected {expected.__name__}, got {value!r}")
    return BUILTINS[name](seed=seed, **options)
