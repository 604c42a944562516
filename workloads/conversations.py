"""Conversations: how many turns they have, how long people wait in between, and how the prompts grow."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from workloads.errors import WorkloadError, did_you_mean
from workloads.lengths import Law

LOOPS = ("closed", "open")


@dataclass(frozen=True)
class NextTurn:
    """The law of the number of turns if a next one follows turn n with `probabilities[n - 1]`.

    The last probability holds for all later turns too. Raises WorkloadError for a probability outside [0, 1).
    """

    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.probabilities:
            raise WorkloadError("NextTurn: probabilities are empty; give at least one")
        for turn, probability in enumerate(self.probabilities, start=1):
            if not 0 <= probability < 1:
                raise WorkloadError(f"NextTurn: probability after turn {turn} must be in [0, 1), got {probability}")

    def quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """The smallest number of turns k with P(turns <= k) >= u, elementwise, for u in [0, 1)."""
        *head, last = self.probabilities
        beyond = np.cumprod([1.0, *head])  # P(turns > k) for k = 0, 1, ..., len(head)
        early = np.searchsorted(-beyond, u - 1, side="left")
        with np.errstate(divide="ignore"):
            ratio = np.log((1 - u) / max(beyond[-1], np.finfo(np.float64).tiny))
            late = len(head) + np.ceil(ratio / math.log(last)) if last > 0 else np.full(len(u), len(head) + 1.0)
        return np.where(early < len(beyond), early, late).clip(min=1).astype(np.float64)

    def mean(self) -> float:
        *head, last = self.probabilities
        beyond = np.cumprod([1.0, *head])
        return float(beyond[:-1].sum() + beyond[-1] / (1 - last))


@dataclass(frozen=True)
class Conversation:
    """What a client does after a first request.

    turns: requests of a conversation; draws are rounded up, and at least 1.
    between_s: seconds from a turn to the next. In a closed loop they are think time: they count from the end of the
    answer, whenever that comes. In an open loop they count from arrival to arrival.
    max_context_tokens: a conversation ends before a turn whose prompt and answer would be longer; a first turn is
    always there. None for no limit.
    """

    turns: Law
    between_s: Law
    loop: str = "closed"
    max_context_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.loop not in LOOPS:
            raise WorkloadError(f"Conversation: unknown loop '{self.loop}'; {did_you_mean(self.loop, LOOPS)}")
        if self.max_context_tokens is not None and self.max_context_tokens < 2:
            raise WorkloadError(
                f"Conversation: max_context_tokens must be at least 2, a token of prompt and one of answer, "
                f"got {self.max_context_tokens}"
            )


class Turns(NamedTuple):
    """R requests of a client's conversations, which stand one after the other, each in order of its turns.

    turn: from 0. arrival_s: NaN for a follow-up of a closed loop. think_s: 0 but for those. input_tokens: of the whole
    prompt. All have the shape (R,).
    """

    turn: NDArray[np.int64]
    arrival_s: NDArray[np.float64]
    think_s: NDArray[np.float64]
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> "Turns":
        """Only these rows, in this order."""
        return Turns._make(column[rows] for column in self)


def turn_numbers(turns: NDArray[np.int64]) -> NDArray[np.int64]:
    """(R,) 0, 1, ..., for each of C conversations with this many turns."""
    first = np.cumsum(turns) - turns
    return np.arange(turns.sum()) - np.repeat(first, turns)


def unfold(
    law: Conversation | None,
    start_s: NDArray[np.float64],
    turn: NDArray[np.int64],
    between_s: NDArray[np.float64],
    context_tokens: NDArray[np.int64],
    own_tokens: NDArray[np.int64],
    output_tokens: NDArray[np.int64],
) -> Turns:
    """The requests of conversations, of which all arguments tell per request, (R,).

    start_s: when its conversation begins. between_s: since the turn before; not used in first turns. context_tokens:
    what stands before the conversation. own_tokens: what the request adds to the prompt. Without a law, all are first
    turns.
    """
    follow_up = turn > 0
    said = _since_first_turn(turn, own_tokens + output_tokens)
    input_tokens = context_tokens + said - output_tokens
    wait_s = np.where(follow_up, between_s, 0.0)
    if law is not None and law.loop == "open":
        arrival_s, think_s = start_s + _since_first_turn(turn, wait_s), np.zeros(len(turn))
    else:
        arrival_s, think_s = np.where(follow_up, np.nan, start_s), wait_s
    all_ = Turns(turn, arrival_s, think_s, input_tokens, output_tokens)
    if law is None or law.max_context_tokens is None:
        return all_
    fits = ~follow_up | (input_tokens + output_tokens <= law.max_context_tokens)  # a prompt is longer each turn
    return all_.take(np.flatnonzero(fits))


def _since_first_turn(turn: NDArray[np.int64], values: NDArray[Any]) -> NDArray[Any]:
    """(R,) sums of `values` over the conversation up to and with each row."""
    total = np.cumsum(values)
    first = np.arange(len(turn)) - turn
    return total - total[first] + values[first]
