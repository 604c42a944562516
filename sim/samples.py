"""What is seen of the instances during a run: their state and counters, at an instant and at regular times."""

from typing import NamedTuple

import numpy as np

from .errors import SimError
from .kernel.indicators import observe
from .kernel.state import Sim
from .operations import ABSENT, PS_PER_S, STATUSES

MOST_SAMPLES = 10_000_000  # instances times sample times: a gigabyte


class InstanceCounters(NamedTuple):
    """State of every instance at an instant, [instances] each; counters since the start of the run."""

    running: np.ndarray
    waiting: np.ndarray
    blocks_used: np.ndarray
    hit_tokens: np.ndarray
    prompt_tokens: np.ndarray
    busy_ps: np.ndarray
    prefill_only: np.ndarray  # iterations, as are the next two; see docs/results.md
    mixed: np.ndarray
    decode_only: np.ndarray
    prefill_tokens: np.ndarray
    decode_tokens: np.ndarray


class Samples(NamedTuple):
    """The same at regular times, [times, instances] each, with `status`, an index in `STATUSES`; [times] `time_ps`."""

    time_ps: np.ndarray
    status: np.ndarray
    running: np.ndarray
    waiting: np.ndarray
    blocks_used: np.ndarray
    hit_tokens: np.ndarray
    prompt_tokens: np.ndarray
    busy_ps: np.ndarray
    prefill_only: np.ndarray
    mixed: np.ndarray
    decode_only: np.ndarray
    prefill_tokens: np.ndarray
    decode_tokens: np.ndarray


def look(state: Sim, at_ps: int) -> InstanceCounters:
    """All instances just before what happens at ``at_ps``, which becomes the kernel's present."""
    state.cluster["clock"] = at_ps
    blocks_used, ended = np.zeros((2, len(state.inst)), np.int64)  # more than one iteration at once: all decode
    observe(state, blocks_used, ended)
    inst = state.inst
    derived = {
        "blocks_used": blocks_used,
        "busy_ps": inst["busy_ps"] + np.where(inst["planned"] > 0, at_ps - inst["start"], 0),
        "decode_only": inst["decode_only"] + ended,
        "decode_tokens": inst["decode_tokens"] + ended * inst["decoding"],
    }
    names = InstanceCounters._fields
    return InstanceCounters(*(derived[name] if name in derived else inst[name].copy() for name in names))


class Sampler:
    """Takes samples every ``interval_ps``, the first after one interval; None: takes none."""

    def __init__(self, interval_ps: int | None = None) -> None:
        self.interval_ps = interval_ps
        self._times: list[int] = []
        self._status: list[list[int]] = []
        self._counters: list[InstanceCounters] = []

    def take(self, state: Sim, status: list[str], at_ps: int) -> None:
        """Note the state of all instances just before what happens at ``at_ps``."""
        if (len(self._times) + 1) * len(status) > MOST_SAMPLES:
            raise SimError(
                f"series_interval_s: {MOST_SAMPLES:,} samples are taken after {at_ps / PS_PER_S:g} s; "
                "use a longer interval"
            )
        self._times.append(at_ps)
        self._counters.append(look(state, at_ps))
        self._status.append([STATUSES.index(one) for one in status])

    def due_ps(self, never: int) -> int:
        """When the next sample is to be taken."""
        return never if self.interval_ps is None else (len(self._times) + 1) * self.interval_ps

    def samples(self, instances: int) -> Samples:
        """What was sampled so far; those of the ``instances`` that were added later count as empty before."""

        def column(at: int) -> np.ndarray:
            rows = [np.pad(row[at], (0, instances - len(row[at]))) for row in self._counters]
            return np.stack(rows) if rows else np.zeros((0, instances), np.int64)

        absent = STATUSES.index(ABSENT)
        rows = [row + [absent] * (instances - len(row)) for row in self._status]
        status = np.array(rows, np.int8).reshape(len(self._times), instances)
        columns = (column(at) for at in range(len(InstanceCounters._fields)))
        return Samples(np.array(self._times, np.int64), status, *columns)
