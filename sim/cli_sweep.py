"""`servesim sweep`: a scenario over a grid or a list of its fields."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from .console import progress_bar, say


def sweep(
    file: Annotated[Path | None, typer.Argument(help="Sweep YAML or scenario YAML; the options override it.")] = None,
    output: Annotated[
        Path, typer.Option(help="Folder of the results; with those of a part of the sweep, it goes on.")
    ] = (Path("sweep")),
    grid: Annotated[
        list[str] | None,
        typer.Option(help="Values of a scenario field, as FIELD=VALUE,VALUE,... Repeat it for every combination."),
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds, from the scenario's own on; 1.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any scenario field of all cells, as FIELD=VALUE.")
    ] = None,
    backend: Annotated[str, typer.Option(help="Where cells run: loky, ray, dask, or inline in this process.")] = "loky",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes; as many as there are processors if left out.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Ray or Dask cluster to use, in place of one made here.")] = None,
) -> None:
    """Run a scenario with every combination of some fields' values; a row of results for each.

    Example: servesim sweep scenario.yaml --grid instances=2,4,8 --grid router=vllm,lmetric --seeds 3 --output sweep

    The same command goes on where it was stopped. docs/sweeps.md explains the results, a Parquet dataset.
    """
    from . import sweep as sweeping  # this brings Arrow and the backend, slow to import

    definition = sweeping.read_definition(file, grid or (), settings or (), seeds)
    done = sweeping.sweep(definition, output, backend, jobs, address, partial(progress_bar, "cells"))
    run = done.cells - done.found - len(done.failures)
    say(f"{done.cells:,} cells: {done.found:,} were there, {run:,} run, {len(done.failures):,} failed")
    say(f"Written to {output}/cells/*.parquet")
    for failure in done.failures:
        typer.echo(f"servesim: failed: {failure.cell}: {failure.error}", err=True)
    if done.failures:
        raise typer.Exit(1)
