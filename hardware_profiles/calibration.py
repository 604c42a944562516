"""How far a GPU's kernels stay below its peaks: the constants of the forms in `operators.py`."""

from typing import Annotated, Literal

from hardware_profiles.library import ProfileError, is_path, locate, read_fields, validate
from hardware_profiles.quantity import Profile, Quantity, measured_in

Fraction = Annotated[Quantity, measured_in("fraction")]
Microseconds = Annotated[Quantity, measured_in("us", zero_allowed=True)]


class Gemm(Profile):
    """Dense matrix multiplication."""

    compute_efficiency: Fraction
    memory_efficiency: Fraction
    launch_us: Microseconds


class PrefillAttention(Profile):
    """Causal attention of a prompt; one of `short_chunk_tokens` runs at half the efficiency of a long one."""

    compute_efficiency: Fraction
    short_chunk_tokens: Annotated[Quantity, measured_in("tokens", zero_allowed=True)]
    launch_us: Microseconds


class DecodeAttention(Profile):
    """Attention of one new token a sequence."""

    memory_efficiency: Fraction
    compute_efficiency: Fraction
    launch_us: Microseconds


class Elementwise(Profile):
    """Normalisation, rotary embedding, KV-cache write, activation, sampling: bytes moved."""

    memory_efficiency: Fraction
    launch_us: Microseconds


class AllReduce(Profile):
    """All-reduce over one NVLink group size."""

    latency_us: Microseconds
    bus_gb_per_s: Annotated[Quantity, measured_in("GB/s")]
    sqrt_us: Annotated[Quantity, measured_in("us/sqrt(MB)", zero_allowed=True)]


class Step(Profile):
    """What the engine adds to each step: scheduling, input preparation, launch, output processing."""

    overhead_us: Microseconds
    per_sequence_us: Microseconds


class FrontEnd(Profile):
    """What the server adds to each request outside the GPU: HTTP, tokenisation, detokenisation."""

    per_request_ms: Annotated[Quantity, measured_in("ms", zero_allowed=True)]


class Calibration(Profile):
    """All constants of one GPU at one precision; `all_reduce` by the number of GPUs."""

    gpu: str
    dtype: Literal["bf16"]
    gemm: Gemm
    prefill_attention: PrefillAttention
    decode_attention: DecodeAttention
    elementwise: Elementwise
    all_reduce: dict[int, AllReduce]
    step: Step
    front_end: FrontEnd


def load_calibration(gpu: str, dtype: str) -> Calibration:
    """The calibration of the GPU called `gpu` at `dtype`, or the one in the YAML file at the path `gpu`.

    Raises `ProfileError` for an unknown pair or a malformed file.
    """
    path = locate("calibration", "calibration", gpu if is_path(gpu) else f"{gpu}-{dtype}")
    calibration = validate(path, Calibration, read_fields(path))
    if calibration.dtype != dtype.casefold():
        raise ProfileError(f"{path}: dtype: expected {dtype!r}, found {calibration.dtype!r}")
    return calibration
