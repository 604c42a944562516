"""Eviction policies by name. A policy is a compiled function ``used(cache, b)``, put on the list by `policy`.

It is called for each block of a request that was hit or has just come in (``cache.uses[b]`` is 1 then), head first,
and returns the queue to which the block belongs from now on; its place there is ``cache.score[b]``, lowest first, and
between equals the last use decides. Which block goes is told by ``victim(cache, r)``, else it is the head of queue 0.

The replay lets a block wait in its queue only while it may go: while no resident block continues it, and the request
that is being served does not use it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numba import typeof, types

from ..errors import SimError, unknown_name
from ..kernel.describe import described
from ..kernel.jit import compiled
from .blocks import BlockTrace
from .cache import Cache, Setup, queues_only

Prepare = Callable[[BlockTrace, Path | None], Setup]


@dataclass(frozen=True)
class Policy:
    """A policy: its name, what goes first in a line, further paragraphs, its compiled functions, what it needs to know
    of a trace.

    profiled: whether `prepare` reads a profile.
    """

    name: str
    description: str
    details: tuple[str, ...]
    used: Any
    victim: Any
    prepare: Prepare
    profiled: bool


POLICIES: dict[str, Policy] = {}


@compiled
def _head(cache, r):
    return cache.queues[0].head


def _one_queue(trace: BlockTrace, profile: Path | None) -> Setup:
    return queues_only(1)


def policy(
    name: str, victim: Any = _head, prepare: Prepare = _one_queue, profiled: bool = False
) -> Callable[[Callable], Any]:
    """Compile a policy and register it under ``name``; the first paragraph of its docstring describes it to users in
    a line, the others are its details.
    """

    def register(function: Callable) -> Any:
        if name in POLICIES:
            raise ValueError(f"eviction policy {name!r} exists already; choose another name")
        POLICIES[name] = Policy(name, *described(function), compiled(function), victim, prepare, profiled)
        return POLICIES[name].used

    return register


def find_policy(name: str, what: str = "--policy") -> Policy:
    """The policy of that name; raises SimError that names ``what`` and near misses if there is none."""
    if name not in POLICIES:
        raise SimError(unknown_name(what, name, POLICIES))
    return POLICIES[name]


def address(function: Any, cache: Cache) -> int:
    """Where a policy's function is once compiled, so that the replay need not be compiled for each."""
    arguments = (typeof(cache), types.int64)
    function.compile(arguments)
    form = function.overloads[arguments]
    return form.library.get_pointer_to_function(form.fndesc.llvm_func_name)
