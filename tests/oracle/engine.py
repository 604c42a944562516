"""The settings of an instance, and groups of instances that have the same."""

from dataclasses import dataclass
from math import floor

from .steptime import StepTables


@dataclass(frozen=True)
class Engine:
    """The settings of an instance.

    `batching` is a name of `batching.BATCHINGS`, `queue` one of `queues.ORDERS`; a `long_prefill_token_threshold` of 0
    is no cap. `max_num_batched_tokens` is what each of the `stages` microbatches of a step may hold; with Sarathi it
    is `chunk_tokens`. `host_blocks` is the capacity of an instance's host memory, `pool_blocks` that of the cluster's
    pool (0: there is none); a block loaded from them takes `host_block_ps` or `pool_block_ps`.
    """

    num_blocks: int
    block_size: int = 16
    max_num_seqs: int = 1024
    max_num_batched_tokens: int = 8192
    long_prefill_token_threshold: int = 0
    prefix_caching: bool = True
    reserve_full_sequence: bool = True
    watermark: float = 0.0
    queue: str = "fcfs"
    eviction: str = "lru"
    async_scheduling: bool = True
    stages: int = 1
    batching: str = "vllm"
    chunk_tokens: int = 512
    host_blocks: int = 0
    host_block_ps: int = 0
    pool_blocks: int = 0
    pool_block_ps: int = 0
    overlap_loads: bool = True

    @property
    def usable_blocks(self) -> int:
        return self.num_blocks - 1

    @property
    def microbatch_tokens(self) -> int:
        """Token budget of a microbatch."""
        return self.chunk_tokens if self.batching == "sarathi" else self.max_num_batched_tokens

    @property
    def step_tokens(self) -> int:
        """Token budget of a step."""
        return self.stages * self.microbatch_tokens

    @property
    def watermark_blocks(self) -> int:
        return floor(self.watermark * self.usable_blocks)

    def blocks_for(self, tokens: int) -> int:
        return -(-tokens // self.block_size)


@dataclass(frozen=True)
class Group:
    """Like instances: what they are, how many at time 0, and the `weight` by which routers divide their load."""

    engine: Engine
    steps: StepTables
    instances: int
    weight: float = 1.0
