"""The policies of vLLM V1 and of Sarathi-Serve: chunks of prompts share their steps with decode requests."""

from .admission import admit_as_scheduled, blocks_for, stay_blocked, wanted
from .batching import batching
from .jit import compiled
from .lru import free_blocks
from .running import schedule_at_once, schedule_in_order, schedule_one_by_one
from .waiting import known_tokens

VLLM_OPTIONS = ("long_prefill_token_threshold", "reserve_full_sequence", "watermark")


@compiled
def _grant_chunk(sim, r, hit_blocks, idle_hits, budget):
    """A chunk, if there are blocks for it or with ``reserve_full_sequence`` for all known tokens."""
    group = sim.group[sim.inst[sim.req[r].instance].group]
    hit = hit_blocks * sim.cluster[0].block_size
    tokens = wanted(sim, r, hit, budget)
    needed = blocks_for(sim, known_tokens(sim, r) if group.reserve else hit + tokens) - hit_blocks
    return tokens if needed + idle_hits + group.watermark_blocks <= free_blocks(sim, sim.req[r].instance) else 0


@batching("vllm", _grant_chunk, VLLM_OPTIONS)
def _vllm(sim, i):
    """running requests in admission order, then waiting ones, in one budget of tokens (vLLM V1)"""
    preemptions = sim.inst[i].preemptions
    budget = schedule_in_order(sim, i)
    if sim.inst[i].preemptions > preemptions or admit_as_scheduled(sim, i, budget):
        return 0
    return 1 if stay_blocked(sim, i, sim.group[sim.inst[i].group].reserve == 0) else 0


@batching("sarathi", _grant_chunk, (*VLLM_OPTIONS, "chunk_tokens"), budget="chunk_tokens")
def _sarathi(sim, i):
    """every decode request, then chunks of prompts in what that leaves of a small budget (Sarathi-Serve)"""
    inst = sim.inst[i]
    group = sim.group[inst.group]
    preemptions = inst.preemptions
    budget = schedule_at_once(sim, i)
    if budget < 0:
        seats = schedule_one_by_one(sim, i, group.max_seqs, True, False)
        if seats >= 0:
            budget = max(0, group.max_tokens - (group.max_seqs - seats))
            budget = schedule_one_by_one(sim, i, budget, False, True)
        inst.grown = 1
    if inst.preemptions > preemptions or admit_as_scheduled(sim, i, budget):
        return 0
    return 1 if stay_blocked(sim, i, group.reserve == 0) else 0
