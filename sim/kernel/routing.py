"""The registry of compiled routing policies. A policy is one function ``(sim, r) -> instance``, put on the list by
`router`.

It may read the instances (`indicators.py`), its options ``sim.option[0]``, ``sim.option[1]``, ... in the order in which
it declares them, and its memory (`history.py`). It must choose among ``sim.accepting[:sim.cluster[0].accepting]``,
which is never empty, or answer `state.REJECT`: the request is refused. The shipped ones are in `sim/policies/`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .describe import described
from .jit import compiled, compiled_anew, inlined
from .random import below


@dataclass(frozen=True)
class Option:
    """An option of a policy: its default, the range [low, high] of its values, what it is, and in which unit."""

    default: float
    low: float
    high: float
    meaning: str
    unit: str = ""


@dataclass(frozen=True)
class Router:
    """A compiled policy: its name, what it does in a line, its function, its options, and what it keeps.

    ``details`` are further paragraphs: its formula and where that is from.
    ``tallies`` names what it counts in ``sim.tally``, for the summary. Only a policy that ``keeps_log`` of its
    decisions may call `history.remember`; only one that ``watches_crowds`` has ``sim.crowd``. One that ``weighs`` heeds
    the weights of groups.
    """

    name: str
    description: str
    function: Any
    options: Mapping[str, Option] = field(default_factory=dict)
    tallies: tuple[str, ...] = ()
    keeps_log: bool = False
    watches_crowds: bool = False
    weighs: bool = False
    details: tuple[str, ...] = ()


ROUTERS: dict[str, Router] = {}


def router(
    name: str,
    options: Mapping[str, Option] | None = None,
    tallies: tuple[str, ...] = (),
    keeps_log: bool = False,
    watches_crowds: bool = False,
    weighs: bool = False,
) -> Callable[[Callable], Any]:
    """Register a policy under ``name``, compiled at its first use. The first paragraph of its docstring describes it to
    users, in a line; the others are its details. The rest is as in `Router`.
    """

    def register(function: Callable) -> Any:
        if name in ROUTERS:
            raise ValueError(f"router {name!r} exists already; choose another name")
        description, details = described(function)
        # Kept on disk only where `drop_stale_cache` sees that what it was compiled with has changed.
        policy = (compiled if function.__module__.startswith("sim.") else compiled_anew)(function)
        kept = (keeps_log, watches_crowds, weighs)
        ROUTERS[name] = Router(name, description, policy, options or {}, tallies, *kept, details)
        return policy

    return register


@inlined
def lowest_score(sim):
    """The accepting instance with the lowest ``sim.score`` (indexed like ``sim.accepting``); ties are drawn from the
    seeded stream.
    """
    n = sim.cluster[0].accepting
    score = sim.score
    best, ties = 0, 1
    for a in range(1, n):
        if score[a] < score[best]:
            best, ties = a, 1
        elif score[a] == score[best]:
            ties += 1
    if ties > 1:
        lowest = score[best]
        skip = below(sim, ties)
        while skip > 0:
            best += 1
            if score[best] == lowest:
                skip -= 1
    return sim.accepting[best]


@inlined
def weight_of(sim, i):
    """The weight of an instance's group."""
    return sim.group[sim.inst[i].group].weight


@inlined
def weigh(sim):
    """Divide each ``sim.score``, a load, by the weight of its instance."""
    if sim.cluster[0].weighted:
        for a in range(sim.cluster[0].accepting):
            sim.score[a] /= weight_of(sim, sim.accepting[a])


@inlined
def lightest(sim):
    """`lowest_score` of loads that count by weight."""
    weigh(sim)
    return lowest_score(sim)


EXCLUDED = math.inf  # the score of an instance that must not be chosen while there is another
