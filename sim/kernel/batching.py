"""Batching policies: whom each step of an instance schedules, as serving engines decide it. See `batching`."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .jit import compiled


@dataclass(frozen=True)
class Batching:
    """A policy: its name, what it does in a line, and its two compiled functions (see `batching`)."""

    name: str
    description: str
    schedule: Any
    grant: Any
    options: tuple[str, ...]  # fields of `Engine` that it alone, or not every policy, heeds
    budget: str  # the field of `Engine` that limits the tokens of a microbatch
    whole_prompts: bool  # each prefilled in one step, which has to hold the longest
    spare_blocks: int  # that an admission needs beyond those of the whole request


BATCHINGS: dict[str, Batching] = {}


def batching(
    name: str,
    grant: Any,
    options: tuple[str, ...] = (),
    budget: str = "max_num_batched_tokens",
    whole_prompts: bool = False,
    spare_blocks: int = 0,
) -> Callable[[Callable], Any]:
    """Compile a policy and register it under ``name``; its docstring's first line describes it to users.

    The function ``(sim, i) -> 0 or 1`` schedules the step of instance ``i`` that starts now. It returns 1 if those
    whom it leaves waiting would be left waiting by each further step too, until a request finishes: then many decode
    iterations may be one jump.

    The compiled ``grant(sim, r, hit_blocks, idle_hits, budget) -> tokens`` says how many tokens the first waiting
    request gets if it is admitted, 0 if it does not fit. It hits ``hit_blocks`` blocks, ``idle_hits`` of which nobody
    uses or have to be loaded: each of those takes a free block. `admission.admit` calls it.
    """

    def register(function: Callable) -> Any:
        if name in BATCHINGS:
            raise ValueError(f"batching {name!r} exists already; choose another name")
        description = (inspect.getdoc(function) or "").split("\n")[0]
        schedule = compiled(function)
        BATCHINGS[name] = Batching(name, description, schedule, grant, options, budget, whole_prompts, spare_blocks)
        return schedule

    return register
