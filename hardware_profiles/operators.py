"""How long one operator takes on one GPU: the functional forms that the calibration's constants belong to.

Times are in seconds, sizes are NumPy arrays of any one shape, and an element has two bytes (bf16).
"""

import numpy as np

from hardware_profiles.calibration import AllReduce, DecodeAttention, Elementwise, Gemm, PrefillAttention
from hardware_profiles.gpu import Gpu
from hardware_profiles.model import BYTES_PER_ELEMENT


def gemm_s(gpu: Gpu, gemm: Gemm, m: np.ndarray, n: int, k: int) -> np.ndarray:
    """An (m, k) by (k, n) product: max(F / (P ec), B / (BW em)) + t0."""
    compute_s = 2.0 * m * n * k / (gpu.flops_per_s * gemm.compute_efficiency.value)
    elements = n * k + m * k + m * n
    memory_s = BYTES_PER_ELEMENT * elements / (gpu.hbm_bytes_per_s * gemm.memory_efficiency.value)
    return np.maximum(compute_s, memory_s) + gemm.launch_us.value * 1e-6


def prefill_chunk_s(
    gpu: Gpu, attention: PrefillAttention, heads: int, head_dim: int, chunk_tokens: np.ndarray
) -> np.ndarray:
    """One layer's causal attention of a chunk within itself, without launch.

    The fitted form F (1 + s0/n) / (P e) with F = 4 head_dim heads n^2 / 2 charges n^2 / 2 + n s0 / 2 pairs;
    here the diagonal is counted whole: n (n + 1) / 2 + n s0 / 2.
    """
    pairs = chunk_tokens * (chunk_tokens + 1.0) / 2 + chunk_tokens * attention.short_chunk_tokens.value / 2
    return pairs * _pair_s(gpu, attention, heads, head_dim)


def prefill_context_s(
    gpu: Gpu, attention: PrefillAttention, heads: int, head_dim: int, chunk_tokens: np.ndarray
) -> np.ndarray:
    """What each token of context before the chunk adds to one layer: a pair with each token of the chunk."""
    return chunk_tokens * _pair_s(gpu, attention, heads, head_dim)


def decode_kv_token_s(gpu: Gpu, attention: DecodeAttention, heads: int, kv_heads: int, head_dim: int) -> float:
    """One layer's decode attention per token of context, without launch: max(B / (BW em), F / (P ec))."""
    kv_bytes = 2 * kv_heads * head_dim * BYTES_PER_ELEMENT
    memory_s = kv_bytes / (gpu.hbm_bytes_per_s * attention.memory_efficiency.value)
    compute_s = 4 * head_dim * heads / (gpu.flops_per_s * attention.compute_efficiency.value)
    return max(memory_s, compute_s)


def elementwise_s(gpu: Gpu, elementwise: Elementwise, moved_bytes: np.ndarray) -> np.ndarray:
    """An operator that only reads and writes memory: B / (BW em) + t0."""
    return moved_bytes / (gpu.hbm_bytes_per_s * elementwise.memory_efficiency.value) + (
        elementwise.launch_us.value * 1e-6
    )


def all_reduce_s(all_reduce: AllReduce, n_gpus: int, message_bytes: np.ndarray) -> np.ndarray:
    """An all-reduce of `message_bytes` among `n_gpus`: 2 (n - 1) / n of them cross each GPU's links."""
    return _collective_s(all_reduce, 2 * (n_gpus - 1) / n_gpus * message_bytes)


def all_gather_s(all_reduce: AllReduce, n_gpus: int, gathered_bytes: np.ndarray) -> np.ndarray:
    """An all-gather to `gathered_bytes` on each GPU: half a ring all-reduce, (n - 1) / n of the bytes."""
    return _collective_s(all_reduce, (n_gpus - 1) / n_gpus * gathered_bytes)


def _pair_s(gpu: Gpu, attention: PrefillAttention, heads: int, head_dim: int) -> float:
    """One (query token, context token) pair of one layer: QK^T and PV, 2 head_dim flops each and head."""
    return 4 * head_dim * heads / (gpu.flops_per_s * attention.compute_efficiency.value)


def _collective_s(all_reduce: AllReduce, bus_bytes: np.ndarray) -> np.ndarray:
    """a + x / b + c sqrt(x in MB)."""
    return (
        all_reduce.latency_us.value * 1e-6
        + bus_bytes / (all_reduce.bus_gb_per_s.value * 1e9)
        + all_reduce.sqrt_us.value * 1e-6 * np.sqrt(bus_bytes / 1e6)
    )
