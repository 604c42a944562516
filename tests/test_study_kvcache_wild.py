"""experiments/kvcache_wild at tiny sizes, and what its README states of workload-aware eviction."""

import numpy as np
import pytest

from experiments.kvcache_wild import loaded, sources
from experiments.kvcache_wild.__main__ import main
from experiments.kvcache_wild.causes import long_prompts, profile_of
from experiments.kvcache_wild.curves import AWARE, BASE, by_policy, curves, gains
from experiments.kvcache_wild.reuse import distance_from_exponential, measure_reuse
from sim.eviction import POLICIES, block_trace, find_policy, replay
from sim.eviction.reuse_profile import read_profile
from workloads import Workload

SMALL = (1024, 3072, 5120, 8192)


def test_reuse_is_counted_by_block_and_by_the_class_of_the_earlier_use():
    twice = Workload.build(
        arrival_s=[0.0, 3.0, 10.0],
        input_tokens=[8, 8, 12],
        output_tokens=[1, 1, 1],
        category=[0, 1, 0],
        category_names=("a", "b"),
        prefix_request=[-1, 0, 0],
        prefix_tokens=[0, 4, 8],
    )  # blocks of 4 tokens: (0, 1), (0, 2), (0, 1, 3)
    reuse = measure_reuse(block_trace(twice, 4))
    assert [one.name for one in reuse.classes] == ["a, turn 1", "b, turn 1"]
    first, second = reuse.classes
    assert first.wait_s.tolist() == [3.0, 10.0] and second.wait_s.tolist() == [7.0]
    assert (first.probability, second.probability) == (2 / 5, 1 / 2)
    assert (first.share, second.share) == (5 / 7, 2 / 7)
    assert reuse.life_s.tolist() == [0.0, 0.0, 10.0, 10.0]
    assert reuse.within(5) == 1 / 3


def test_reuses_are_the_hits_of_an_unbounded_cache():
    trace = block_trace(sources.consumer(0, 300.0), sources.BLOCK_TOKENS)
    hits = replay(trace, find_policy(BASE)).hit_blocks
    assert len(measure_reuse(trace).wait_s) == hits


def test_distance_from_exponential():
    waits_s = np.random.default_rng(0).exponential(50.0, 10_000)
    assert distance_from_exponential(waits_s) < 0.02
    assert distance_from_exponential(np.full(10, 50.0)) == pytest.approx(1 - np.exp(-1))


def test_the_profile_is_one_that_the_policy_reads(tmp_path):
    trace = block_trace(sources.consumer(0, 300.0), sources.BLOCK_TOKENS)
    (tmp_path / "profile.yaml").write_text(profile_of(trace))
    laws = read_profile(tmp_path / "profile.yaml", trace.category_names)["chatbot"]
    assert laws[0].reuse_probability < 0.2 < laws[1].reuse_probability


def test_long_prompts_are_single_and_can_be_told_apart():
    chats = sources.consumer(0, 600.0)
    apart = sources.files_told_apart(chats)
    files = apart.category == 1
    assert (apart.turn[files] == 0).all()
    assert len(sources.without_files(chats)) == (~files).sum()
    assert long_prompts(chats)["blocks each, mean"] > 300


@pytest.mark.parametrize("seed", range(3))
def test_workload_aware_is_not_below_lru_on_the_consumer_workload(seed: int):
    trace = block_trace(sources.consumer(seed, 1800.0), sources.BLOCK_TOKENS)
    gain = [
        replay(trace, find_policy(AWARE), capacity).hit_blocks - replay(trace, find_policy(BASE), capacity).hit_blocks
        for capacity in SMALL
    ]
    assert min(gain) >= 0
    assert gain == sorted(gain)


@pytest.mark.parametrize("seed", range(3))
def test_workload_aware_is_lru_on_the_business_workload(seed: int):
    trace = block_trace(sources.business(seed, 120.0), sources.BLOCK_TOKENS)
    for capacity in SMALL:
        aware, base = (replay(trace, find_policy(name), capacity).hits for name in (AWARE, BASE))
        assert (aware == base).all()


def test_gains_are_over_the_policies_that_do_not_know_the_future():
    trace = block_trace(sources.business(0, 30.0), sources.BLOCK_TOKENS)
    table = curves(trace, (1024,)).assign(seed=0)
    assert set(by_policy(table)) == set(POLICIES)
    ratios = by_policy(table).iloc[0]
    assert gains(table).iloc[0]["over LRU"] == 0
    assert gains(table).iloc[0]["over the best"] == pytest.approx(100 * (ratios[AWARE] - max(ratios.drop("belady"))))


def test_the_study_writes_its_tables_and_figures(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sources, "MOONCAKE", tmp_path / "absent.jsonl.gz")
    main(
        tmp_path,
        seeds=(0,),
        capacities=(1024, 4096),
        consumer_s=300.0,
        business_s=30.0,
        loaded_seeds=(0, 1),
        loaded_capacities=(8192,),
        loaded_size=0.05,
    )
    names = {
        "tables.md",
        "curves.csv",
        "loaded.csv",
        "loaded.png",
        "reuse-times.png",
        "life-spans.png",
        "hit-ratios.png",
        "gain.png",
    }
    assert {path.name for path in tmp_path.iterdir()} == names
    printed = capsys.readouterr().out
    assert "goes without the Mooncake trace" in printed
    assert "| 1,024 | 0.138 / 0.118 |" in printed
    assert "Loaded: chatbot, changes to lru" in printed


def test_workload_aware_shortens_the_queue_near_saturation_where_much_can_be_kept() -> None:
    """Half an hour: as many blocks as the GPU has, and rates at a half and nearly all of what it can serve."""
    queue_s = {
        (rate, name): loaded.run(loaded.Task("chatbot", rate, 0, 1.0, 32768, name))["queue_mean_s"]
        for rate in (4.0, 8.0)
        for name in (BASE, AWARE)
    }
    slack, near = (1 - queue_s[rate, AWARE] / queue_s[rate, BASE] for rate in (4.0, 8.0))
    assert near > slack > 0


def test_workload_aware_is_lru_in_the_engine_on_the_business_workload() -> None:
    aware, base = (loaded.run(loaded.Task("api", 8.0, 0, 0.1, 8192, name)) for name in (AWARE, BASE))
    assert aware["queue_mean_s"] == base["queue_mean_s"] > 0


@pytest.mark.skipif(not sources.MOONCAKE.is_file(), reason="no published traces at ../shared/data/traces")
def test_workload_aware_is_lru_on_a_trace_without_turns_or_categories():
    trace = block_trace(sources.mooncake(), sources.MOONCAKE_BLOCK_TOKENS)
    aware, base = (replay(trace, find_policy(name), 4096).hits for name in (AWARE, BASE))
    assert (aware == base).all()
