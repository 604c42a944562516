"""Workloads that need no file."""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from reprlib import repr as short_repr
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.errors import WorkloadError, did_you_mean
from workloads.workload import Workload

# Illustrative, not fitted to a trace.
SYSTEM_PROMPT_TOKENS = (256, 2048)  # uniform: least, most
USER_TOKENS = (60.0, 1.0)  # lognormal: median, sigma
OUTPUT_TOKENS = (200.0, 0.8)  # lognormal: median, sigma

MOST_REQUESTS, MOST_CLIENTS = 100_000_000, 1_000_000
LARGEST_FLOAT = sys.float_info.max


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
    _require("requests", requests, 1 <= requests <= MOST_REQUESTS, f"from 1 to {MOST_REQUESTS}")
    _require("clients", clients, 1 <= clients <= MOST_CLIENTS, f"from 1 to {MOST_CLIENTS}")
    _require("rate_per_s", rate_per_s, 0 < rate_per_s <= LARGEST_FLOAT, "a positive number")
    _require("mean_turns", mean_turns, 1 <= mean_turns <= LARGEST_FLOAT, "a number from 1 on")
    _require("zipf_exponent", zipf_exponent, 0 <= zipf_exponent <= LARGEST_FLOAT, "a number from 0 on")
    _require("mean_think_s", mean_think_s, 0 <= mean_think_s <= LARGEST_FLOAT, "a number from 0 on")

    def stream(*key: int) -> np.random.Generator:
        """Stream 0: starts; 1: choices; (2 + c, purpose): of client c."""
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))

    # Conversations; there are no more than requests, as each has a turn.
    with np.errstate(over="ignore"):  # Workload.build rejects infinite times
        start_s = np.cumsum(stream(0).exponential(mean_turns / rate_per_s, requests))
    popularity = np.cumsum(np.arange(1.0, clients + 1) ** -float(zipf_exponent))
    client = np.searchsorted(popularity / popularity[-1], stream(1).random(requests), side="right")
    turns = np.zeros(requests, np.int64)
    for c, mine in _rows_of_each(client):
        turns[mine] = stream(2 + c, 1).geometric(1 / mean_turns, len(mine))
    turns = np.minimum(turns, requests)  # rows are cut there anyway; the sum must not overflow
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
    for c, mine in _rows_of_each(client[session]):
        system_tokens[c] = stream(2 + c, 0).integers(*SYSTEM_PROMPT_TOKENS, endpoint=True)
        user_tokens[mine] = _lognormal(stream(2 + c, 2), *USER_TOKENS, len(mine))
        output_tokens[mine] = _lognormal(stream(2 + c, 3), *OUTPUT_TOKENS, len(mine))
        think_s[mine] = stream(2 + c, 4).exponential(mean_think_s, len(mine))
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


def _rows_of_each(client: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each client that occurs, with its rows."""
    order = np.argsort(client, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(client[order])) + 1):
        yield int(client[rows[0]]), rows


def _lognormal(rng: np.random.Generator, median: float, sigma: float, size: int) -> NDArray[np.int64]:
    """Token counts, at least 1."""
    return np.ceil(rng.lognormal(np.log(median), sigma, size)).astype(np.int64)


def _require(name: str, value: float, good: bool, expected: str) -> None:
    if not good:
        raise WorkloadError(f"shared_prefix_chat: {name} must be {expected}, got {short_repr(value)}")


BUILTINS: dict[str, Callable[..., Workload]] = {"shared-prefix-chat": shared_prefix_chat}


def generate(name: str, seed: int, options: Mapping[str, Any]) -> Workload:
    """The built-in workload called `name`; `options` are the other parameters of its function.

    Raises WorkloadError for an unknown name or option.
    """
    if name not in BUILTINS:
        raise WorkloadError(f"unknown built-in workload '{name}'; {did_you_mean(name, BUILTINS)}")
    parameters = inspect.signature(BUILTINS[name]).parameters
    known = [parameter for parameter in parameters if parameter != "seed"]
    for option, value in options.items():
        if option == "seed":
            raise WorkloadError(f"option 'seed' of workload '{name}': use the scenario's seed instead")
        if option not in known:
            raise WorkloadError(f"unknown option '{option}' of workload '{name}'; {did_you_mean(option, known)}")
        expected = type(parameters[option].default)
        if isinstance(value, bool) or not isinstance(value, (int, expected)):
            problem = f"expected {expected.__name__}, got {short_repr(value)}"
            raise WorkloadError(f"option '{option}' of workload '{name}': {problem}")
    return BUILTINS[name](seed=seed, **options)
