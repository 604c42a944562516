"""`servesim profile measure`: operator tables of the GPU at hand."""

from pathlib import Path
from typing import Annotated

import typer

from hardware_profiles import ModelShape, ModelShard, ProfileError, load_model
from hardware_profiles.measure import OPERATORS
from hardware_profiles.measure import measure as measure_operator

from .console import say

USUAL_TPS = (1, 2, 4, 8)


def measure(
    operator: Annotated[str, typer.Argument(help=f"What to measure: {', '.join(OPERATORS)}.")],
    path: Annotated[Path, typer.Option("--out", help="Table to write, .parquet; one that is there is gone on with.")],
    model: Annotated[
        str | None,
        typer.Option(help="Model whose shapes to measure, by name or config.json. If left out, general ones."),
    ] = None,
    tps: Annotated[
        list[int] | None,
        typer.Option("--tp", help="Tensor parallelism of the shapes. May be repeated. If left out, 1, 2, 4 and 8."),
    ] = None,
    dtype: Annotated[str, typer.Option(help="bf16, or fp8 for gemm.")] = "bf16",
) -> None:
    """Measure an operator on this machine's NVIDIA GPU (needs PyTorch: pip install 'servesim\\[measure]').

    Example: servesim profile measure gemm --model qwen2.5-7b --out gemm.parquet
    """
    outcome = measure_operator(operator, path, dtype, _shards(model, tps), say)
    say(
        f"{outcome.measured:,} shapes measured, {outcome.kept:,} were there, {outcome.skipped:,} could not be run. "
        f"Written to {path}"
    )


def _shards(model: str | None, tps: list[int] | None) -> list[ModelShard]:
    if model is None:
        if tps:
            raise ProfileError("--tp: a shard is a model's; give --model")
        return []
    shape = load_model(model)
    return [shape.shard(tp) for tp in tps] if tps else _usual_shards(shape)


def _usual_shards(shape: ModelShape) -> list[ModelShard]:
    shards = []
    for tp in USUAL_TPS:
        try:
            shards.append(shape.shard(tp))
        except ProfileError as error:
            say(f"left out: {error}")
    return shards
