"""LMetric's guard: a hot prefix that plain LMetric piles up on one instance (arXiv 2603.15202)."""

import numpy as np
from router_states import Choice, linear_steps

from sim.cluster import Cluster
from sim.kernel.build import Engine, Group, Requests
from sim.kernel.history import remember

INSTANCES = 8
REQUESTS = 2000
PREFIX_TOKENS = 8000
MS = 10**9  # ps


def hot_prefix(share: float) -> Requests:
    """Ten requests a second, of 30 further prompt tokens and 100 of output; most begin with the same 8,000."""
    random = np.random.default_rng(0)
    nothing, none = np.zeros(REQUESTS, np.int64), np.full(REQUESTS, -1)
    hot = random.random(REQUESTS) < share
    hot[0] = True
    arrival_ps = np.cumsum(random.exponential(100 * MS, REQUESTS)).astype(np.int64)
    arrival_ps[1:] += 5000 * MS  # the first has its prefix cached by then
    return Requests(
        arrival_ps=arrival_ps,
        input_tokens=nothing + PREFIX_TOKENS + 30,
        output_tokens=nothing + 100,
        priority=nothing,
        parent=none,
        think_ps=nothing,
        prefix_request=np.where(hot & (np.arange(REQUESTS) > 0), 0, -1),
        prefix_tokens=np.where(hot & (np.arange(REQUESTS) > 0), PREFIX_TOKENS, 0),
        reuse_class=nothing,
        itl_class=nothing,
    )


def serve(router: str) -> Cluster:
    engine = Engine(num_blocks=40_000, block_size=10, max_num_seqs=64, max_num_batched_tokens=2048)
    tables = linear_steps()
    tokens, sequences = np.arange(2049), np.arange(65)
    steps = tables._replace(
        linear_ps=MS // 10 * tokens,
        sequence_ps=5 * MS + MS * sequences,
        **{name: np.zeros(2049, np.int64) for name in ("prefill_ps", "prefill_pair")},
        **{name: np.zeros(65, np.int64) for name in ("decode_ps", "decode_kv_ps", "decode_window_ps")},
        decode_generated_ps=np.zeros(65, np.int64),
    )
    cluster = Cluster(hot_prefix(share=0.9), [Group(engine, steps, INSTANCES)], router, router_seed=1)
    cluster.run()
    return cluster


def mean_tpot_s(cluster: Cluster) -> float:
    req = cluster.state.req
    return float(((req["finish"] - req["first_token"]) / (req["output"] - 1)).mean()) / 1e12


def busiest_share(cluster: Cluster) -> float:
    return float(np.bincount(cluster.state.req["instance"]).max() / REQUESTS)


def test_the_guard_spreads_a_hot_prefix() -> None:
    plain, guarded = serve("lmetric"), serve("lmetric-guarded")
    assert busiest_share(plain) > 0.3
    assert busiest_share(guarded) < 0.2
    assert mean_tpot_s(guarded) < 0.6 * mean_tpot_s(plain)
    tallies = guarded.router_tallies
    assert tallies["hot_prefix_alarms"] >= 1
    assert 1 <= tallies["requests_diverted"] < REQUESTS / 10
    assert plain.router_tallies == {}


def test_phases() -> None:
    """Of two instances one holds the prefix: two requests in a row may prefer it, the third is sent away."""
    choice = Choice("lmetric-guarded", instances=2).see(hits=[90, 0])
    alarms, diverted = choice.sim.tally[:2], choice.sim.tally[1:]
    assert [choice.of(0) for _ in range(3)] == [0, 0, 1]
    assert (alarms[0], diverted[0]) == (1, 1)
    assert choice.of(0) == 1, "and so is the next, while the share is too large"
    choice.see(waiting=[50, 0])
    assert choice.of(0) == 1
    assert diverted[0] == 2, "it preferred the other by itself, which ends the row"
    choice.see(waiting=[0, 0])
    assert [choice.of(0) for _ in range(3)] == [0, 0, 1]
    for _ in range(20):
        remember(choice.sim, 1, 1, 0)
    assert choice.of(0) == 0, "half of the requests at most: safe"
    assert alarms[0] == 1
    choice.sim.cluster["clock"] = 61 * 10**12
    assert choice.of(0) == 0
    assert alarms[0] == 2, "those others are older than the window"


def test_a_prefix_that_enough_instances_hold_is_safe() -> None:
    choice = Choice("lmetric-guarded", instances=2).see(hits=[90, 90])
    assert {choice.of(0) for _ in range(20)} == {0, 1}
    assert choice.sim.tally[0] == 0
