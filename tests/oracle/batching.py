"""The batching policies: whom a step schedules."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from .queues import last_in_order
from .request import Request

if TYPE_CHECKING:
    from .instance import Found, Instance


class Pass(NamedTuple):
    """What a pass over running requests left."""

    budget: int
    preempted: bool
    ended: bool  # a request had to preempt itself: nobody else is scheduled


class VLLM:
    """Running requests in admission order, then waiting ones, all within one budget of tokens."""

    whole_prompts = False  # each prefilled in one step
    spare_blocks = 0  # that an admission needs beyond those of the whole request

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.engine = instance.engine

    def schedule(self, now_ps: int) -> None:
        """Put the step together that starts now."""
        running = self.schedule_running(self.instance.running, self.engine.step_tokens, now_ps)
        if not running.preempted:
            self.instance.admit_as_scheduled(running.budget, now_ps)

    def grant(self, request: Request, found: Found, budget: int) -> int:
        """Tokens that the first waiting request gets in this step; 0 if it does not fit."""
        engine, pool = self.engine, self.instance.pool
        hit_tokens = found.count * engine.block_size
        n = self._chunk_tokens(request.known - hit_tokens, budget)
        must_fit_tokens = request.known if engine.reserve_full_sequence else hit_tokens + n
        new_blocks = engine.blocks_for(must_fit_tokens) - len(found.on_gpu)
        fits = new_blocks + pool.count_idle(found.on_gpu) + engine.watermark_blocks <= pool.free_blocks
        return n if fits else 0

    def schedule_running(self, requests: list[Request], budget: int, now_ps: int) -> Pass:
        """Schedule these running requests in turn, preempting while blocks are short."""
        instance = self.instance
        preempted: list[Request] = []
        for request in tuple(requests):
            if budget == 0:
                break
            if request in preempted:
                continue
            n = self._chunk_tokens(request.known - request.computed, budget)
            new_blocks = self.engine.blocks_for(request.computed + n) - len(request.blocks)
            while instance.pool.free_blocks < new_blocks and request not in preempted:
                victim = last_in_order(instance)
                budget += instance.scheduled.get(victim, 0)
                instance.preempt(victim, 0, now_ps)
                preempted.append(victim)
            if request in preempted:
                return Pass(budget, preempted=True, ended=True)
            instance.schedule(request, n)
            budget -= n
        return Pass(budget, bool(preempted), ended=False)

    def _chunk_tokens(self, wanted: int, budget: int) -> int:
        threshold = self.engine.long_prefill_token_threshold
        return min(wanted, threshold, budget) if threshold > 0 else min(wanted, budget)


class Sarathi(VLLM):
    """All decode requests, then chunks of prompts in what they leave of a small budget."""

    def schedule(self, now_ps: int) -> None:
        instance = self.instance
        decodes = [request for request in instance.running if not request.in_prefill]
        decoding = self.schedule_running(decodes, self.engine.max_num_seqs, now_ps)
        if decoding.ended:
            return
        budget = max(0, self.engine.step_tokens - len(instance.scheduled))
        prefills = [request for request in instance.running if request.in_prefill]
        prefilling = self.schedule_running(prefills, budget, now_ps)
        if not decoding.preempted and not prefilling.preempted:
            instance.admit_as_scheduled(prefilling.budget, now_ps)


class Orca(VLLM):
    """Whole prompts, admitted with the blocks of all that they may become."""

    whole_prompts = True

    def grant(self, request: Request, found: Found, budget: int) -> int:
        engine, pool = self.engine, self.instance.pool
        promised_blocks = sum(self._whole_blocks(running) - len(running.blocks) for running in self.instance.running)
        new_blocks = self._whole_blocks(request) - len(found.on_gpu)
        fits = new_blocks + pool.count_idle(found.on_gpu) + promised_blocks <= pool.free_blocks
        n = request.known - found.count * engine.block_size
        return n if fits and n <= budget else 0

    def _whole_blocks(self, request: Request) -> int:
        return self.engine.blocks_for(request.row.input_tokens + request.row.output_tokens - 1)


class Static(Orca):
    """The same, but nobody is admitted while anybody runs."""

    def schedule(self, now_ps: int) -> None:
        if self.instance.running:
            self.schedule_running(self.instance.running, self.engine.step_tokens, now_ps)
        else:
            self.instance.admit(self.engine.step_tokens, now_ps, now_ps, 0)


class SGLang(VLLM):
    """Steps of prefill alone while there is any, else steps of decode alone."""

    spare_blocks = 2

    FIRST_RATIO = Fraction(7, 10)
    LAST_RATIO = FIRST_RATIO * Fraction(14, 100)
    DECAY_A_STEP = (FIRST_RATIO - LAST_RATIO) / 600
    MOST_ESTIMATED_TOKENS = 4096  # of what a request has yet to generate
    RETRACTION_STEPS = 20
    DENOMINATOR = 300_000  # of every ratio

    def __init__(self, instance: Instance) -> None:
        super().__init__(instance)
        self._start_afresh()

    def _start_afresh(self) -> None:
        self.ratio = self.FIRST_RATIO
        self.full = False

    def schedule(self, now_ps: int) -> None:
        instance = self.instance
        previous = instance.previous
        if previous is None or previous.end_ps < now_ps:
            self._start_afresh()
        elif previous.finished_requests:
            self.full = False
        chunked = [request for request in instance.running if request.in_prefill]
        budget = self.engine.step_tokens
        for request in chunked:
            n = min(request.known - request.computed, budget)
            instance.schedule(request, n)
            budget -= n
        if chunked or not self.full:
            instance.admit_as_scheduled(budget, now_ps)
        if not instance.scheduled:
            self._decode(now_ps)

    def grant(self, request: Request, found: Found, budget: int) -> int:
        engine, pool = self.engine, self.instance.pool
        decoding = sum(self._yet_tokens(running) for running in self.instance.running if not running.in_prefill)
        prefilling = sum(self._yet_tokens(running) for running in self.instance.running if running.in_prefill)
        free_tokens = (pool.free_blocks - pool.count_idle(found.on_gpu)) * engine.block_size
        free_tokens -= prefilling + ceil(decoding * self.ratio)
        stored_tokens = request.known - len(found.on_gpu) * engine.block_size  # in new blocks, loaded or computed
        if stored_tokens + self._yet_tokens(request) + engine.block_size > free_tokens:
            self.full = True
            return 0
        return min(request.known - found.count * engine.block_size, budget)

    def _yet_tokens(self, request: Request) -> int:
        return min(request.row.output_tokens - request.generated, self.MOST_ESTIMATED_TOKENS)

    def _decode(self, now_ps: int) -> None:
        instance, engine = self.instance, self.engine
        retracted = False
        while (
            sum(request.computed % engine.block_size == 0 for request in instance.running) > instance.pool.free_blocks
        ):
            # The last of those with the fewest generated tokens and then the longest prompt.
            victim = min(reversed(instance.running), key=lambda r: (r.generated, -r.row.input_tokens))
            instance.preempt(victim, len(instance.waiting), now_ps)
            retracted = True
        for request in instance.running:
            instance.schedule(request, 1)
        if retracted:
            self.full = False
            self.ratio = self._ratio_after_retraction()
        else:
            self.ratio = max(self.ratio - self.DECAY_A_STEP, self.LAST_RATIO)

    def _ratio_after_retraction(self) -> Fraction:
        running = self.instance.running
        generated = sum(request.generated for request in running)
        output = sum(request.row.output_tokens for request in running)
        ratio = Fraction(generated + self.RETRACTION_STEPS * len(running), output + 1)
        return min(Fraction(1), Fraction(int(ratio * self.DENOMINATOR), self.DENOMINATOR))


BATCHINGS: dict[str, type[VLLM]] = {
    "vllm": VLLM,
    "sglang": SGLang,
    "sarathi": Sarathi,
    "orca": Orca,
    "static": Static,
}
