"""How many KV-cache blocks a GPU has left beside weights, activations and framework."""

from collections.abc import Iterator
from contextlib import suppress

from hardware_profiles import Gpu, ModelShape, ProfileError
from hardware_profiles.model import BYTES_PER_ELEMENT, ModelShard

GIB = 2**30

# vLLM measures its activations in a dummy step that ends in sampling for max_num_seqs sequences: logits in
# bf16 and fp32, sorted values and indices with their buffers, probabilities, their running sum. Its 1.26
# GiB for Llama-3-8B (vocabulary 128256) at 256 sequences, the same with TP 2
# [github.com/vllm-project/vllm/pull/10511], are 41 bytes a logit.
SAMPLER_BYTES_PER_LOGIT = 40

# Assumption: CUDA context, NCCL and all-reduce buffers, workspaces. Chosen so that Llama-2-70B TP4 and
# CodeLlama-34B TP2 on H100 under vLLM 0.15 get their measured 31356 and 26602 blocks.
FRAMEWORK_OVERHEAD_BYTES = 0.64 * GIB


def kv_blocks(
    model: ModelShape,
    gpu: Gpu,
    tp: int,
    block_size: int,
    max_num_batched_tokens: int,
    max_num_seqs: int,
    gpu_memory_utilization: float = 0.9,
) -> int:
    """Number of KV blocks of `block_size` tokens that a group of `tp` GPUs has, the reserved one included.

    floor((GPU memory x utilization - weights - activation peak - framework overhead) / bytes per block),
    all on one GPU, where GPU memory is what the CUDA runtime reports. Raises `ProfileError` when not one
    block fits, with the memory missing and the smallest TP that would do.
    """
    if not 0 < gpu_memory_utilization <= 1:
        raise ValueError(f"gpu_memory_utilization must be in (0, 1], found {gpu_memory_utilization}")
    for limit, value in (
        ("block_size", block_size),
        ("max_num_batched_tokens", max_num_batched_tokens),
        ("max_num_seqs", max_num_seqs),
    ):
        if value < 1:
            raise ValueError(f"{limit} must be at least 1, found {value}")
    budget_bytes = gpu.usable_memory_bytes * gpu_memory_utilization

    def cache_bytes(shard: ModelShard) -> float:
        activation_bytes = activation_peak_bytes(shard, max_num_batched_tokens, max_num_seqs)
        return budget_bytes - shard.weight_bytes - activation_bytes - FRAMEWORK_OVERHEAD_BYTES

    shard = model.shard(tp)
    block_bytes = shard.kv_bytes_per_token * block_size
    blocks = int(cache_bytes(shard) // block_bytes)
    if blocks >= 1:
        return blocks
    fitting = (
        larger.tp for larger in _larger_shards(shard) if cache_bytes(larger) >= larger.kv_bytes_per_token * block_size
    )
    fitting_tp = next(fitting, None)
    remedy = "no TP fits" if fitting_tp is None else f"TP {fitting_tp} would fit"
    missing_gib = (block_bytes - cache_bytes(shard)) / GIB
    raise ProfileError(
        f"{model.name} with TP {tp} does not fit {gpu.name}: {missing_gib:.2f} GiB missing for one KV block "
        f"within {budget_bytes / GIB:.1f} GiB (gpu_memory_utilization {gpu_memory_utilization}); {remedy}"
    )


def activation_peak_bytes(shard: ModelShard, max_num_batched_tokens: int, max_num_seqs: int) -> int:
    """The larger of the two peaks of vLLM's dummy step (an assumption, see docs/latency.md).

    The forward pass peaks in the MLP: hidden state and residual, gate and up, and their product, for all
    tokens. Sampling peaks with the whole vocabulary's logits, which every GPU of the group holds.
    """
    elements_per_token = 2 * shard.shape.hidden_size + 3 * shard.intermediate_size
    forward_bytes = max_num_batched_tokens * elements_per_token * BYTES_PER_ELEMENT
    sampler_bytes = max_num_seqs * shard.shape.vocab_size * SAMPLER_BYTES_PER_LOGIT
    return max(forward_bytes, sampler_bytes)


def _larger_shards(shard: ModelShard) -> Iterator[ModelShard]:
    """The model's shards at each larger TP that divides it, in order."""
    for tp in range(shard.tp + 1, shard.shape.num_attention_heads + 1):
        with suppress(ProfileError):
            yield shard.shape.shard(tp)
