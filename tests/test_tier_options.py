"""From a scenario's gigabytes to blocks and picoseconds, what it says of them afterwards, and what it refuses."""

import json
from typing import Any

import pytest
from deployments import deploy

from hardware_profiles import load_gpu
from sim import SimError, make_scenario, simulate
from sim.tiers import TierOptions, tier_assumptions, tier_options

CHAT = {"builtin": "chatbot", "options": {"rate_per_s": 4.0, "duration_s": 120.0}}
BLOCK_BYTES = 2 * 28 * 4 * 128 * 2 * 16  # of qwen2.5-7b in bf16: K and V, layers, KV heads, their size, bytes, tokens


def options_of(deployed: dict[str, Any] | None = None, **fields: Any) -> TierOptions:
    scenario = make_scenario({"workload": CHAT, "model": "qwen2.5-7b"} | (deployed or {}) | fields)
    return tier_options(
        scenario.engine, scenario.kv_pool, deploy(**({"gpu": "h20", "model": "qwen2.5-7b"} | (deployed or {})))
    )


def test_without_tiers_there_are_none() -> None:
    assert options_of() == TierOptions(0, 0, 0, 0, True)


def test_gigabytes_are_blocks_and_bandwidth_is_a_time_a_block() -> None:
    found = options_of(engine={"host_cache": {"capacity_gb": 8}}, kv_pool={"capacity_gb": 40, "bandwidth_gb_per_s": 10})
    host_block_ps = round(BLOCK_BYTES / 64e9 * 1e12)  # PCIe of an H20
    assert found == TierOptions(int(8e9 / BLOCK_BYTES), host_block_ps, int(40e9 / BLOCK_BYTES), BLOCK_BYTES * 100, True)


@pytest.mark.parametrize("layout", [{"tp": 2}, {"pp": 2}])
def test_each_gpu_keeps_and_loads_its_part(layout: dict[str, int]) -> None:
    tiers = {"engine": {"host_cache": {"capacity_gb": 8}}, "kv_pool": {"capacity_gb": 40}}
    one, two = options_of(**tiers), options_of(layout, **tiers)
    assert two.host_blocks == int(16e9 / BLOCK_BYTES)
    assert two.pool_blocks == one.pool_blocks
    assert (two.host_block_ps, two.pool_block_ps) == (one.host_block_ps // 2, one.pool_block_ps // 2)


def test_the_pool_comes_over_pcie_where_that_is_slower() -> None:
    gpu = load_gpu("L40S")
    assert gpu.pcie_gb_per_s.value < gpu.rdma_gb_per_s.value
    found = options_of({"gpu": "L40S"}, kv_pool={"capacity_blocks": 7})
    assert (found.pool_blocks, found.pool_block_ps) == (7, round(BLOCK_BYTES / 32e9 * 1e12))


def test_bandwidths_of_the_profile_are_assumptions() -> None:
    deployed = deploy("h20", "qwen2.5-7b")
    tiers = {"engine": {"host_cache": {"capacity_gb": 8}}, "kv_pool": {"capacity_gb": 40}}
    scenario = make_scenario({"workload": CHAT} | tiers)
    assert list(tier_assumptions(scenario.engine, scenario.kv_pool, deployed)) == [
        "engine.host_cache.bandwidth_gb_per_s",
        "kv_pool.bandwidth_gb_per_s",
    ]
    tiers["engine"]["host_cache"]["bandwidth_gb_per_s"] = tiers["kv_pool"]["bandwidth_gb_per_s"] = 20
    given = make_scenario({"workload": CHAT} | tiers)
    assert tier_assumptions(given.engine, given.kv_pool, deployed) == {}


def test_the_summary_tells_what_each_tier_did() -> None:
    small = {"num_blocks": 2500, "host_cache": {"capacity_blocks": 3000}}
    fields = {"workload": CHAT, "instances": 2, "engine": small, "kv_pool": {"capacity_blocks": 50_000}}
    result = simulate(make_scenario(fields))
    table, summary = result.requests, result.summary
    for tier, column in (("host_cache", "host_hit_tokens"), ("kv_pool", "pool_hit_tokens")):
        told = summary[tier]
        assert told["hit_tokens"] == table[column].sum() > 0
        assert told["hit_ratio"] == pytest.approx(table[column].sum() / table["input_tokens"].sum())
        assert told["written_blocks"] >= told["loaded_blocks"] >= told["hit_tokens"] // 16 > 0
    assert summary["host_cache"]["blocks"] == 3000 and summary["kv_pool"]["blocks"] == 50_000
    assert summary["assumptions"]["kv_pool.bandwidth_gb_per_s"].startswith("50 GB/s, the peak")
    found = table[["hit_tokens", "host_hit_tokens", "pool_hit_tokens"]].sum(axis=1)
    assert (found < table["input_tokens"]).all()

    alone = simulate(make_scenario(fields | {"engine": {"num_blocks": 2500}, "kv_pool": None})).summary
    assert alone["host_cache"] is None and alone["kv_pool"] is None
    assert summary["ttft_s"]["mean"] < alone["ttft_s"]["mean"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["engine.host_cache.capcity_gb=3"], "engine.host_cache.capcity_gb: unknown key; did you mean 'capacity_gb'?"),
        (["kv_pool.bandwith_gb_per_s=3"], "kv_pool.bandwith_gb_per_s: unknown key; did you mean 'bandwidth_gb_per_s'?"),
        (["kv_pool.bandwidth_gb_per_s=3"], "kv_pool: give either `capacity_gb` or `capacity_blocks`"),
        (
            ["engine.host_cache.capacity_gb=3", "engine.host_cache.capacity_blocks=3"],
            "engine.host_cache: give either `capacity_gb` or `capacity_blocks`",
        ),
        (["kv_pool.capacity_gb=0"], "kv_pool.capacity_gb: input should be greater than 0"),
        (
            ["kv_pool.capacity_gb=1e-6"],
            "kv_pool.capacity_gb: 1e-06 GB has no room for a block of 0.000918 GB; raise it",
        ),
        (
            ["engine.overlap_loads=false"],
            "engine.overlap_loads: nothing is loaded without engine.host_cache or kv_pool",
        ),
        (
            ["kv_pool.capacity_gb=9", "engine.prefix_caching=false"],
            "engine.prefix_caching: engine.host_cache and kv_pool hold what it caches; set it to true or leave them",
        ),
        (
            ["kv_pool.capacity_gb=9", "kv_pool.bandwidth_gb_per_s=0.001", "engine.num_blocks=100000000"],
            "engine.host_cache, kv_pool: bandwidth_gb_per_s: ",
        ),
    ],
)
def test_what_makes_no_sense_is_one_line(servesim, settings: list[str], message: str) -> None:
    words = [word for setting in settings for word in ("--set", setting)]
    status, _, error = servesim("run", "--builtin", "chatbot", "--set", "workload.options.requests=20", *words)
    assert status == 1 and message in error and len(error.strip().splitlines()) == 1


def test_the_command_tells_of_tiers_and_refusals(servesim) -> None:
    words = ["--builtin", "chatbot", "--set", "workload.options.requests=300", "--set", "engine.num_blocks=3000"]
    tiers = ["--set", "engine.host_cache.capacity_gb=8", "--set", "kv_pool.capacity_gb=8"]
    status, printed, _ = servesim("run", *words, *tiers, "--router", "mooncake:ttft_slo_s=0.05")
    assert status == 0
    for told in ("loaded from host memory", "loaded from the pool", "requests were refused"):
        assert told in printed
    _, printed, _ = servesim("run", *words, *tiers, "--json")
    assert json.loads(printed)["rejected"] == 0


def test_a_tier_without_room_for_a_block_is_refused() -> None:
    with pytest.raises(SimError, match=r"^engine.host_cache.capacity_gb: 0.0001 GB has no room"):
        options_of(engine={"host_cache": {"capacity_gb": 1e-4}})
