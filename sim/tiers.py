"""The tiers below the GPUs' caches, from a scenario's gigabytes to the kernel's blocks and picoseconds."""

from collections.abc import Sequence
from typing import NamedTuple

from .deployment import Deployment
from .errors import SimError
from .scenario import CacheTier, EngineOptions, Scenario

PS_PER_S = 10**12


class TierOptions(NamedTuple):
    """What `kernel.build.Engine` needs to know of the tiers, under its names."""

    host_blocks: int
    host_block_ps: int
    pool_blocks: int
    pool_block_ps: int
    overlap_loads: bool


def tier_options(options: EngineOptions, pool: CacheTier | None, deployed: Deployment) -> TierOptions:
    """The tiers of an instance, 0 blocks for one that it has not. Raises `SimError` for one without room for a block.

    Each GPU loads its part of a block over its own link, all at once: block time = the part on a GPU of the fullest
    pipeline stage / bandwidth. Host memory counts by such a GPU's part, the pool by all parts of a block.
    """
    if not options.overlap_loads and options.host_cache is None and pool is None:
        raise SimError(
            "engine.overlap_loads: nothing is loaded without engine.host_cache or kv_pool; give one or leave it out"
        )
    stage_bytes = [stage.kv_bytes_per_token(deployed.kv_format) * options.block_size for stage in deployed.shard.stages]
    part_bytes, block_bytes = max(stage_bytes), deployed.tp * sum(stage_bytes)
    return TierOptions(
        _blocks("engine.host_cache", options.host_cache, part_bytes),
        _block_ps(options.host_cache, part_bytes, deployed.gpu.pcie_gb_per_s.value),
        _blocks("kv_pool", pool, block_bytes),
        _block_ps(pool, part_bytes, _network_gb_per_s(deployed)),
        options.overlap_loads,
    )


def check_pool(scenario: Scenario, blocks: Sequence[int]) -> None:
    """Refuse a pool for groups whose blocks are not alike; ``blocks`` is how many of each group's it would hold."""
    groups = scenario.groups()
    kinds = {(group.model, group.engine.kv_cache_dtype) for group in groups}
    if scenario.kv_pool is not None and len(kinds) > 1:
        raise SimError(
            "kv_pool: the groups of the fleet differ in model or engine.kv_cache_dtype, so that one cannot use "
            "another's blocks; make them the same or leave the pool out"
        )
    if len(set(blocks)) > 1:
        raise SimError(
            f"kv_pool.capacity_gb: has room for {' or '.join(map(str, blocks))} blocks, as tp and pp of the groups "
            "differ; give capacity_blocks instead"
        )


def tier_assumptions(options: EngineOptions, pool: CacheTier | None, deployed: Deployment) -> dict[str, str]:
    """The bandwidths that are left to the GPU's profile, each with what is assumed."""
    assumed = {}
    host = options.host_cache
    if host is not None and host.bandwidth_gb_per_s is None:
        peak = deployed.gpu.pcie_gb_per_s.value
        assumed["engine.host_cache.bandwidth_gb_per_s"] = f"{peak:g} GB/s, the peak of PCIe; no loads were measured"
    if pool is not None and pool.bandwidth_gb_per_s is None:
        peak = _network_gb_per_s(deployed)
        assumed["kv_pool.bandwidth_gb_per_s"] = (
            f"{peak:g} GB/s, the peak of a GPU's network card or of the PCIe before it; no loads were measured, and no "
            "two of them share a link"
        )
    return assumed


def _network_gb_per_s(deployed: Deployment) -> float:
    """What comes over the network goes over PCIe too."""
    return min(deployed.gpu.rdma_gb_per_s.value, deployed.gpu.pcie_gb_per_s.value)


def _blocks(field: str, tier: CacheTier | None, block_bytes: float) -> int:
    if tier is None:
        return 0
    if tier.capacity_gb is None:
        assert tier.capacity_blocks is not None  # CacheTier checks it
        return tier.capacity_blocks
    blocks = int(tier.capacity_gb * 1e9 // block_bytes)
    if blocks == 0:
        raise SimError(
            f"{field}.capacity_gb: {tier.capacity_gb:g} GB has no room for a block of {block_bytes / 1e9:.3g} GB; "
            "raise it"
        )
    return blocks


def _block_ps(tier: CacheTier | None, part_bytes: float, peak_gb_per_s: float) -> int:
    if tier is None:
        return 0
    bandwidth_gb_per_s = peak_gb_per_s if tier.bandwidth_gb_per_s is None else tier.bandwidth_gb_per_s
    return round(part_bytes / (bandwidth_gb_per_s * 1e9) * PS_PER_S)
