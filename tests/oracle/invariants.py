"""What must hold at all times, whatever the scenario."""

from collections import Counter
from collections.abc import Sequence

from .instance import Instance
from .request import Request


def check_step(instance: Instance, requests: Sequence[Request]) -> None:
    """Assert the invariants of an instance whose step has just started."""
    engine, pool = instance.engine, instance.pool

    references: Counter[int] = Counter()
    for request in instance.running:
        references.update(request.blocks)
        references.update(request.kept.values())
    assert len(references) <= pool.usable_blocks, "running blocks never exceed the usable ones"
    in_use = {block for block, count in enumerate(pool.references) if count > 0}
    assert {block: pool.references[block] for block in in_use} == references, "blocks in use have an owner"
    idle = {pool.cached[identity] for identity in pool.eviction.idle}
    states = [*in_use, *idle, *pool.blank]
    assert sorted(states) == list(range(1, engine.num_blocks)), "every usable block is in exactly one state"

    host = instance.host.blocks
    assert len(host) <= engine.host_blocks, "host memory never exceeds its capacity"
    assert not set(host) & set(pool.cached), "a block is on the GPU or in host memory"
    own = {*pool.cached, *host}
    for kept in (own, set(instance.shared.blocks)):
        for owner, block in kept:
            assert block == 0 or requests[owner].identities[block - 1] in kept, "every tier is closed with those above"
    assert len(instance.shared.blocks) <= engine.pool_blocks, "the pool never exceeds its capacity"

    assert {block: identity for identity, block in pool.cached.items()} == pool.content
    assert set(pool.cached) == set(pool.eviction.notes), "what is cached is what may be forgotten"
    assert not set(pool.blank) & set(pool.content), "blank blocks hold nothing"
    for owner, block in pool.cached:
        # The chain up to a block is that of its last token's owner, whose list thus names the predecessor.
        predecessor_cached = block == 0 or requests[owner].identities[block - 1] in pool.cached
        assert predecessor_cached, "resident prefixes are closed"

    for request in instance.running:
        assert 0 < request.computed <= request.known, "computed tokens are known ones"
        assert len(request.blocks) == engine.blocks_for(request.computed), "blocks held cover computed tokens"
        assert request.in_prefill or request.known - request.computed in (0, 1), "decode is one token a step"
    for request in instance.waiting:
        assert request.computed == 0 and not request.blocks, "a waiting request holds nothing"
    assert len(instance.running) <= engine.max_num_seqs
    assert sum(instance.scheduled.values()) <= engine.stages * engine.max_num_batched_tokens


def check_instant(
    instances: Sequence[Instance],
    at_router: Sequence[Request],
    due: Sequence[Request],
    requests: Sequence[Request],
) -> None:
    """Assert the invariants of the cluster when everything that happens at one instant has happened."""
    for instance in instances:
        if instance.frozen:
            continue
        busy = instance.step_end_ps is not None
        assert busy == bool(instance.waiting or instance.running), "work conservation"
    present = [*at_router, *due]
    for instance in instances:
        present += instance.waiting + instance.running
    counts = Counter(request.id for request in present)
    for request in requests:
        row, outcome = request.row, request.outcome
        born = row.parent == -1 or requests[row.parent].outcome.finish_ps >= 0
        expected = int(born and outcome.finish_ps == -1 and not outcome.rejected)
        assert counts[request.id] == expected, "a request is in exactly one place until it finishes or is refused"
        assert not outcome.rejected or outcome.instance == outcome.finish_ps == -1, "who is refused enters no instance"


def check_finished(request: Request) -> None:
    """Assert the invariants of a request that has just finished."""
    outcome = request.outcome
    assert request.generated == request.row.output_tokens, "token conservation"
    assert request.computed == request.known - 1, "the last token is never computed"
    times_ps = [outcome.arrival_ps, outcome.first_scheduled_ps, outcome.first_token_ps, outcome.finish_ps]
    assert times_ps == sorted(times_ps) and times_ps[0] >= 0 and times_ps[1] < times_ps[2], "causality"
    assert 0 <= outcome.hit_tokens < request.row.input_tokens + request.row.output_tokens
