"""What a cluster refuses before it runs: engine options, step tables and requests that do not fit each other."""

from collections.abc import Sequence

import numpy as np

from .errors import SimError, unknown_name
from .kernel.batching import BATCHINGS
from .kernel.build import Engine, Group, Requests
from .kernel.routing import ROUTERS, Router
from .kernel.state import EVICTIONS, LONGEST_PS
from .kernel.steptime import PAIR_SHIFT, StepTable
from .kernel.waiting import QUEUES

SHARED_OPTIONS = ("block_size", "prefix_caching", "eviction", "queue")  # laid out once for the cluster


def check_groups(requests: Requests, groups: Sequence[Group]) -> None:
    """Refuse groups that do not go together, and what one of them could not run."""
    if sum(group.instances for group in groups) == 0:
        raise SimError("fleet: no group has an instance at the start; give one of them instances: 1")
    for group in groups:
        try:
            check_engine(group.engine, group.steps)
            check_requests(requests, group.engine)
            check_pairs(requests, group.steps)
        except SimError as error:
            raise error if len(groups) == 1 else SimError(f"group {group.name!r}: {error}") from None
        for option in SHARED_OPTIONS:
            ours, theirs = getattr(group.engine, option), getattr(groups[0].engine, option)
            if ours != theirs:
                raise SimError(
                    f"engine.{option}: {ours!r} in group {group.name!r} and {theirs!r} in {groups[0].name!r}; "
                    "it has to be the same in all groups"
                )


def check_weights(groups: Sequence[Group], policy: Router) -> None:
    """Refuse different weights under a policy that heeds none."""
    if not policy.weighs and len({group.weight for group in groups}) > 1:
        weighing = ", ".join(sorted(name for name, known in ROUTERS.items() if known.weighs))
        raise SimError(
            f"fleet: weight: the router {policy.name!r} heeds no weights; leave them out, use {weighing}, "
            "or a formula with `weight` in it"
        )


def check_engine(engine: Engine, steps: StepTable) -> None:
    """Refuse options that contradict each other, and step tables that are too short for them."""
    check_options(engine)
    for table, entries in (
        (steps.linear_ps, engine.stages * engine.max_num_batched_tokens + 1),
        (steps.sequence_ps, engine.max_num_seqs + 1),
    ):
        if len(table) < entries:
            raise SimError(f"step tables: {len(table)} entries are too few for {entries - 1} tokens or sequences")


def check_options(engine: Engine) -> None:
    """Refuse names that are unknown and options that contradict each other."""
    for field, known in (("batching", BATCHINGS), ("queue", QUEUES), ("eviction", EVICTIONS)):
        if getattr(engine, field) not in known:
            raise SimError(unknown_name(f"engine.{field}", getattr(engine, field), known))
    for option in sorted({option for policy in BATCHINGS.values() for option in policy.options}):
        default = Engine._field_defaults[option]
        if option not in BATCHINGS[engine.batching].options and getattr(engine, option) != default:
            raise SimError(
                f"engine.{option}: batching {engine.batching!r} does not use it; leave it at {default!r}, or use "
                f"batching {' or '.join(name for name, policy in BATCHINGS.items() if option in policy.options)}"
            )
    if engine.max_num_batched_tokens < engine.max_num_seqs:
        raise SimError(
            f"engine.max_num_batched_tokens: {engine.max_num_batched_tokens} is below max_num_seqs "
            f"{engine.max_num_seqs}; a step needs a token for every running request, so raise it or lower max_num_seqs"
        )
    if not 1 <= engine.microbatch_tokens <= engine.max_num_batched_tokens:
        raise SimError(
            f"engine.{BATCHINGS[engine.batching].budget}: {engine.microbatch_tokens} is not within 1 and "
            f"max_num_batched_tokens {engine.max_num_batched_tokens}; lower it or raise max_num_batched_tokens"
        )
    if engine.host_blocks + engine.pool_blocks > 0 and not engine.prefix_caching:
        raise SimError(
            "engine.prefix_caching: engine.host_cache and kv_pool hold what it caches; set it to true or leave them out"
        )
    slowest_ps = max(engine.host_block_ps, engine.pool_block_ps)
    if slowest_ps * engine.usable_blocks > LONGEST_PS:
        raise SimError(
            f"engine.host_cache, kv_pool: bandwidth_gb_per_s: {slowest_ps} ps a block are too long for the clock where "
            f"{engine.usable_blocks} blocks are loaded; raise it"
        )


def check_requests(requests: Requests, engine: Engine) -> None:
    """Refuse a request that no step or no instance can ever hold."""
    tokens = requests.input_tokens.astype(np.int64) + requests.output_tokens - 1
    policy = BATCHINGS[engine.batching]
    if policy.whole_prompts and tokens.max(initial=0) > engine.step_tokens:
        row = int(np.argmax(tokens > engine.step_tokens))
        raise SimError(
            f"request {row}: batching {engine.batching!r} may prefill its {int(tokens[row])} tokens in one step, which "
            f"holds {engine.step_tokens}; raise engine.max_num_batched_tokens, or leave the request out"
        )
    kept_free = engine.watermark_blocks + policy.spare_blocks
    blocks = -(-tokens // engine.block_size) + kept_free
    if len(blocks) and blocks.max() > engine.usable_blocks:
        row = int(np.argmax(blocks > engine.usable_blocks))
        beside = f" beside the watermark's {engine.watermark_blocks}" if engine.watermark_blocks else ""
        beside += f" and {policy.spare_blocks} to spare for its admission" if policy.spare_blocks else ""
        raise SimError(
            f"request {row}: its {int(tokens[row]) + 1} tokens need {int(blocks[row]) - kept_free} "
            f"KV blocks{beside}, an instance has {engine.usable_blocks}; use more memory or tensor parallelism, "
            "another engine.num_blocks or engine.watermark, or leave the request out"
        )


def check_pairs(requests: Requests, steps: StepTable) -> None:
    """Refuse a position table that ends before a request does, and products with positions that leave 64 bits."""
    longest = int((requests.input_tokens.astype(np.int64) + requests.output_tokens).max(initial=0))
    if len(steps.pairs) <= longest:
        raise SimError(
            f"step tables: pairs has {len(steps.pairs)} entries, too few for a request of {longest} tokens; "
            f"make it {longest + 1}"
        )
    added = np.diff(steps.pairs)
    if added.min(initial=0) < 0:
        raise SimError(f"step tables: pairs decreases at position {int(np.argmin(added)) + 1}; let it grow or stay")
    most = np.arange(len(steps.prefill_pair)) * float(added.max(initial=0)) * steps.prefill_pair
    if most.max() >= 2.0**63:
        tokens = int(np.argmax(most))
        raise SimError(
            f"step tables: a chunk of {tokens} tokens of up to {added.max()} pairs each, at "
            f"{steps.prefill_pair[tokens] >> PAIR_SHIFT} ps a pair, overflows 64 bits; "
            "use smaller engine.max_num_batched_tokens or shorter requests"
        )
    if steps.prefill_context_ps * longest >= 2**63:
        raise SimError(
            f"step tables: {steps.prefill_context_ps} ps a token of context overflows 64 bits "
            f"in a request of {longest} tokens; use shorter requests"
        )
