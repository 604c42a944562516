"""Hand-made states for policies to choose in."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sim.kernel.build import Engine, Group, Requests, build
from sim.kernel.history import remember
from sim.kernel.prefix_index import _note_segment
from sim.kernel.router_memory import RouterMemory
from sim.kernel.state import Sim
from sim.kernel.steptime import StepTable
from sim.routing import find_router

PROMPT_TOKENS = 100
ENGINE = Engine(num_blocks=1001, block_size=1, max_num_seqs=64, max_num_batched_tokens=64)
INDICATORS = ("waiting", "running", "queued_prefill", "decode_kv", "blank")


def linear_steps() -> StepTable:
    """A token costs 10 ps, a KV token that a decode step reads 1 ps."""
    nothing = np.zeros(ENGINE.max_num_batched_tokens + 1, np.int64)
    by_tokens = 10 * np.arange(len(nothing))
    tables = dict.fromkeys(("prefill_ps", "prefill_pair", "decode_ps", "decode_window_ps", "sequence_ps"), nothing)
    return StepTable(
        linear_ps=by_tokens,
        pairs=np.zeros(10_000, np.int64),
        decode_kv_ps=nothing + 1,
        decode_generated_ps=nothing,
        window_tokens=0,
        prefill_step_ps=0,
        mixed_step_ps=0,
        **tables,
    )


def equal_prompts(count: int, shared_tokens: int) -> Requests:
    """Prompts of equal length, of which the first two begin alike and no others."""
    nothing, none = np.zeros(count, np.int64), np.full(count, -1)
    prompts, prefix_request, prefix_tokens = nothing + PROMPT_TOKENS, none.copy(), nothing.copy()
    if shared_tokens:
        prefix_request[1], prefix_tokens[1] = 0, shared_tokens
    return Requests(
        nothing, prompts, nothing + 1, nothing, none, nothing, prefix_request, prefix_tokens, nothing, nothing
    )


class Choice:
    """A policy before ``instances`` instances, all of them empty at first, and ``requests`` prompts of 100 tokens."""

    def __init__(
        self,
        name: str,
        options: Mapping[str, Any] | None = None,
        instances: int = 3,
        seed: int = 0,
        session: Sequence[int] | None = None,
        client: Sequence[int] | None = None,
        requests: int = 4,
        shared_tokens: int = 0,
        engine: Engine = ENGINE,
    ) -> None:
        self.router, values = find_router(name, options)
        memory = RouterMemory(
            options=values,
            tallies=len(self.router.tallies),
            session=None if session is None else np.array(session),
            client=None if client is None else np.array(client),
            keeps_log=self.router.keeps_log,
            watches_crowds=self.router.watches_crowds,
            own_index=True,
        )
        group = Group(engine, linear_steps(), instances)
        self.sim: Sim = build(equal_prompts(requests, shared_tokens), [group], seed, memory)
        self.accept(range(instances))

    def accept(self, instances: Sequence[int]) -> None:
        self.sim.inst["accepting"] = 0
        self.sim.inst["accepting"][list(instances)] = 1
        self.sim.cluster["accepting"] = len(instances)
        self.sim.accepting[: len(instances)] = instances

    def see(self, hits: Sequence[int] = (), **indicators: Sequence[int]) -> "Choice":
        """Set indicators, an entry an instance; ``hits`` are those of request 0."""
        for name, values in indicators.items():
            assert name in INDICATORS
            self.sim.inst[name] = values
        for i, tokens in enumerate(hits):
            if tokens > 0:
                _note_segment(self.sim, 0, i, tokens)
        return self

    def sent(self, request: int, instance: int, new_tokens: int = 0) -> "Choice":
        """Note that the request went to the instance now, to compute so many tokens there."""
        remember(self.sim, request, instance, new_tokens)
        return self

    def ended(self, request: int, output_tokens: int, *times_ps: int) -> "Choice":
        """The request has been answered; times of its first schedule, its first token and its last."""
        self.sim.req[request]["output"] = output_tokens
        for field, time_ps in zip(("first_scheduled", "first_token", "finish"), times_ps, strict=True):
            self.sim.req[request][field] = time_ps
        return self

    def of(self, request: int = 0) -> int:
        return int(self.router.function(self.sim, request))

    def often(self, request: int = 0, times: int = 60) -> set[int]:
        """All that it chooses in this state; for policies that keep nothing."""
        return {self.of(request) for _ in range(times)}
