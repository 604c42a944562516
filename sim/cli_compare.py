"""`servesim compare`: policies or scenarios on the same requests, over several seeds."""

from pathlib import Path
from typing import Annotated

import typer

from .console import out, progress_bar, say


def compare(
    scenarios: Annotated[list[Path] | None, typer.Argument(help="Scenario YAMLs; --set overrides them all.")] = None,
    routers: Annotated[
        list[str] | None, typer.Option("--router", help="Routing policy: see `servesim routers`. Repeat it.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from the scenario's own on.")] = 5,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any scenario field, as FIELD=VALUE, e.g. workload.builtin=chatbot."),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="Policy that the others are compared to; the first if left out.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for tables, figures and compare.html.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print comparison.json instead of the table.")] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes; as many as there are processors if left out.")
    ] = None,
) -> None:
    """Run several policies, or whole scenarios, on the same requests, and tell which differences are no chance.

    Example: servesim compare scenario.yaml --router round-robin --router vllm --router lmetric --output comparison

    With several scenario files and routers, each file is run with each router. docs/compare.md explains the numbers.
    """
    from . import compare as comparing  # these bring Matplotlib and Jinja, slow to import
    from .cells.backends import processors
    from .compare.folder import write
    from .compare.notes import notes
    from .compare.table import terminal_table

    policies = comparing.read_policies(scenarios or [], routers or [], settings or [])
    if output:
        output.mkdir(parents=True, exist_ok=True)
    with progress_bar("runs", len(policies) * seeds) as finished:
        comparison = comparing.compare(policies, seeds, jobs or processors(), baseline, finished)
    if output:
        write(comparison, output)
    if as_json:
        print(comparison.to_json())
    else:
        out.print(terminal_table(comparison))
        for note in notes(comparison):
            say(note)
        if output:
            say(f"Written to {output}/")
    for failure in comparison.failures:
        typer.echo(f"servesim: failed: {failure.policy}, seed {failure.seed}: {failure.error}", err=True)
    if comparison.failures:
        raise typer.Exit(1)
