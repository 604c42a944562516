"""A run as Chrome trace events, which https://ui.perfetto.dev opens: what each instance did, step by step.

An instance is a process with one thread, on which each step, or jump over many decode iterations, is a slice; beside
it are counters of its requests and KV blocks. The router is another process, whose slices are arrivals. A flow leads
from a request's arrival to the slice that first schedules it and to the one that ends with its last token. Times are
microseconds with six decimals, the simulator's picoseconds. The format is described in
https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU.
"""

import gzip
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from workloads.files import complete_file

from .cluster import PS_PER_S
from .errors import SimError
from .kernel.state import JUMP, LONGEST_PS, NONE
from .result import Result

PS_PER_US = 10**6
ARRIVAL_PS = PS_PER_US  # drawn width of an arrival, if the next comes no sooner; it takes no time
ROUTER, FIRST_INSTANCE = 1, 2  # process ids; 0 has a meaning of its own in Perfetto
WHOLE_RUN = (0.0, LONGEST_PS / PS_PER_S)
Jump = dict[str, int]  # a record of `state.JUMP`


def parse_window(text: str) -> tuple[float, float]:
    """START:END in seconds; either may be left out, which is the run's."""
    start, separator, end = text.partition(":")
    try:
        window = (float(start or WHOLE_RUN[0]), float(end or WHOLE_RUN[1]))
    except ValueError:
        separator = ""
    if not separator:
        raise SimError(f"--trace-window {text}: expected START:END in seconds, for example 60:90")
    if not WHOLE_RUN[0] <= window[0] < window[1] <= WHOLE_RUN[1]:
        raise SimError(f"--trace-window {text}: give 0 <= START < END <= {WHOLE_RUN[1]:,.0f}")
    return window


def write_trace_events(result: Result, path: Path, window_s: tuple[float, float]) -> int:
    """Write the steps of a run made with ``trace_window_s``, each as a whole, and the requests that arrive within it.

    Compressed if ``path`` ends in .gz. Returns the number of slices of instances.
    """
    jumps = result.cluster.jumps
    window_ps = (round(window_s[0] * PS_PER_S), round(window_s[1] * PS_PER_S))
    jumps = jumps[np.lexsort((jumps["start"], jumps["instance"]))]
    with complete_file(path) as partial, _text(partial) as file:
        file.write('{"displayTimeUnit": "ns", "traceEvents": [\n')
        for at, event in enumerate(_events(result, jumps, window_ps)):
            file.write((",\n" if at else "") + event)
        file.write("\n]}\n")
    return len(jumps)


@contextmanager
def _text(path: Path) -> Iterator[TextIO]:
    if path.suffix != ".gz":
        with path.open("w", encoding="utf-8") as plain:
            yield plain
        return
    # Without name and time of the file, so that the same run gives the same bytes.
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8") as text,
    ):
        yield text


def _events(result: Result, jumps: np.ndarray, window_ps: tuple[int, int]) -> Iterator[str]:
    yield from _names(len(result.cluster.state.inst))
    arrivals_ps, members = _arrivals(result, window_ps)
    ends_ps = np.minimum(arrivals_ps + ARRIVAL_PS, np.append(arrivals_ps[1:], LONGEST_PS))
    for start_ps, end_ps, requests in zip(arrivals_ps.tolist(), ends_ps.tolist(), members, strict=True):
        yield _slice("arrival", ROUTER, start_ps, end_ps, {"requests": requests.tolist()})
    yield from _instance_events(jumps, window_ps[1])
    middle_ps = np.full(len(result.cluster.state.req), -1)
    for at, requests in enumerate(members):
        middle_ps[requests] = (arrivals_ps[at] + ends_ps[at]) // 2
    yield from _flows(result.cluster.state.req, jumps, middle_ps)


def _names(instances: int) -> Iterator[str]:
    named = [("router", "arrivals"), *((f"instance {i}", "steps") for i in range(instances))]
    for process, (name, thread) in enumerate(named, ROUTER):
        for kind, args in (
            ("process_name", {"name": name}),
            ("process_sort_index", {"sort_index": process}),
            ("thread_name", {"name": thread}),
        ):
            yield json.dumps({"name": kind, "ph": "M", "pid": process, "tid": process, "args": args})


def _arrivals(result: Result, window_ps: tuple[int, int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The instants within the window at which requests arrive, ps, and who does at each."""
    arrival_ps = result.cluster.state.req["arrival"]
    within = np.flatnonzero((arrival_ps >= window_ps[0]) & (arrival_ps < window_ps[1]))
    within = within[np.argsort(arrival_ps[within], kind="stable")]
    instants, first = np.unique(arrival_ps[within], return_index=True)
    return instants, np.split(within, first[1:]) if len(within) else []


def _instance_events(jumps: np.ndarray, end_ps: int) -> Iterator[str]:
    shown: dict[tuple[int, str], int] = {}

    def counter(name: str, process: int, at_ps: int, value: int) -> Iterator[str]:
        if shown.get((process, name), 0) != value:
            shown[process, name] = value
            yield _event(name, "C", process, at_ps, f'"args": {{"{name}": {value}}}')

    same_instance = np.roll(jumps["instance"], -1) == jumps["instance"]
    following = np.where(same_instance, np.roll(jumps["start"], -1), NONE)
    for row, next_start_ps in zip(jumps.tolist(), following.tolist(), strict=True):
        jump = dict(zip(JUMP.names or (), row, strict=True))
        process = FIRST_INSTANCE + jump["instance"]
        yield _slice(_kind(jump), process, jump["start"], jump["end"], _arguments(jump))
        yield from counter("running requests", process, jump["start"], jump["running"])
        idle = next_start_ps != jump["end"] < end_ps  # then nobody runs or waits
        yield from counter("waiting requests", process, jump["end"], 0 if idle else jump["waiting"])
        yield from counter("KV blocks in use", process, jump["end"], 0 if idle else jump["blocks_used"])
        if idle:
            yield from counter("running requests", process, jump["end"], 0)


def _kind(jump: Jump) -> str:
    if jump["chunks"] == 0:
        return "decode"
    return "mixed" if jump["decodes"] else "prefill"


def _arguments(jump: Jump) -> dict[str, Any]:
    args = {
        "iterations": jump["iterations"],
        "decode_requests": jump["decodes"],
        "prefill_requests": jump["chunks"],
        "prefill_tokens": jump["prefill_tokens"],
        "tokens_per_iteration": jump["prefill_tokens"] + jump["decodes"],
    }
    return args | {"failed": True} if jump["failed"] else args


def _flows(requests: np.ndarray, jumps: np.ndarray, arrival_ps: np.ndarray) -> Iterator[str]:
    """One for each request of whose three slices at least two are shown; ``arrival_ps`` lies within the first, or is
    -1.

    Points are in the middle of slices, so that each is inside its own whatever a viewer rounds to.
    """
    at = {"start": requests["first_scheduled"], "end": requests["finish"]}
    first, last = (_jump_of(jumps, requests["instance"], edge, time_ps) for edge, time_ps in at.items())
    middle_ps = (jumps["start"] + jumps["end"]) // 2
    for r in np.flatnonzero(
        (arrival_ps >= 0).astype(int) + (first >= 0) + ((last >= 0) & (last != first)) > 1
    ).tolist():
        process = FIRST_INSTANCE + int(requests["instance"][r])
        points = [(ROUTER, int(arrival_ps[r]))] if arrival_ps[r] >= 0 else []
        points += [(process, int(middle_ps[jump])) for jump in dict.fromkeys((first[r], last[r])) if jump >= 0]
        phases = ["s", *"t" * (len(points) - 2), "f"]
        for phase, (where, time_ps) in zip(phases, points, strict=True):
            yield _event("request", phase, where, time_ps, f'"cat": "request", "id": {r}, "bp": "e"')


def _jump_of(jumps: np.ndarray, instance: np.ndarray, edge: str, time_ps: np.ndarray) -> np.ndarray:
    """For each request the index of the jump on its instance that starts or ends (``edge``) at ``time_ps``, else -1."""
    found = np.full(len(time_ps), -1)
    borders = np.searchsorted(jumps["instance"], np.arange(int(instance.max(initial=-1)) + 2))
    for i, (low, high) in enumerate(pairwise(borders.tolist())):
        here = np.flatnonzero(instance == i)
        place = np.searchsorted(jumps[edge][low:high], time_ps[here])
        exact = place < high - low
        exact[exact] = jumps[edge][low:high][place[exact]] == time_ps[here][exact]
        found[here[exact]] = low + place[exact]
    return found


def _slice(name: str, process: int, start_ps: int, end_ps: int, args: dict[str, Any]) -> str:
    return _event(name, "X", process, start_ps, f'"dur": {_us(end_ps - start_ps)}, "args": {json.dumps(args)}')


def _event(name: str, phase: str, process: int, at_ps: int, rest: str) -> str:
    place = f'"pid": {process}, "tid": {process}'
    return f'{{"name": "{name}", "ph": "{phase}", {place}, "ts": {_us(at_ps)}, {rest}}}'


def _us(time_ps: int) -> str:
    """Exactly, which a float would not be."""
    return f"{time_ps // PS_PER_US}.{time_ps % PS_PER_US:06d}"
