"""`servesim profile`: fit operators' constants to measured tables, and check the shipped ones."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Column, Table

from .console import out, say
from .errors import SimError

if TYPE_CHECKING:
    from hardware_profiles.fitting.check import Check

COUNTS = ("rows", "shapes")
ERRORS = ("median", "mean", "p90", "worst", "bias")

profile_app = typer.Typer(
    help="Fit kernels' constants to measured times, and check them. Example: servesim profile check t.csv",
    no_args_is_help=True,
)

Kind = Annotated[
    str, typer.Option("--operator", help="What the table holds: gemm, moe, attn_prefill, attn_decode, allreduce.")
]


@profile_app.command()
def fit(
    tables: Annotated[list[Path], typer.Argument(help="Measured tables, Parquet or CSV: see docs/profiles.md.")],
    kind: Kind,
    gpu: Annotated[str, typer.Option(help="GPU whose rows are fitted: see `servesim gpus`.")],
    output: Annotated[Path, typer.Option(help="Calibration to write the constants into: its other parts stay.")],
    dtype: Annotated[str, typer.Option(help="Precision whose rows are fitted: bf16, fp8, fp8-block or int4.")] = "bf16",
    kernel: Annotated[str | None, typer.Option(help="Kernel whose rows are fitted, where a table has several.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Where the times come from; the tables' names if left out.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Figure of fitted against measured times to write.")] = None,
) -> None:
    """Fit an operator's constants to measured times, with errors cross-validated by shape.

    Example: servesim profile fit gemm.parquet --operator gemm --gpu H100 --output mine.yaml
    """
    from hardware_profiles.fitting.update import fit_sections, write_sections

    fitted = fit_sections(tables, kind, gpu, dtype, kernel, source)
    write_sections(output, gpu, dtype, fitted)
    for section in fitted:
        say(f"{section.name}: {section.fit.cross_validated} (five-fold cross-validated by shape)")
    if plot is not None:
        from hardware_profiles.fitting.plot import plot_fit

        plot_fit({section.name: (section.fit.measured_us, section.fit.fitted_us) for section in fitted}, plot)
    say(f"Written to {output}")


@profile_app.command()
def check(
    table: Annotated[Path, typer.Argument(help="Measured table, Parquet or CSV: see docs/profiles.md.")],
    kind: Kind,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole result as JSON.")] = False,
) -> None:
    """Tell how far the shipped constants are from measured times.

    Example: servesim profile check gemm.parquet --operator gemm
    """
    from hardware_profiles.fitting.check import check as check_table

    result = check_table(table, kind)
    if as_json:
        print(json.dumps(result.as_json(), indent=2))
    else:
        _print_check(result)
    if result.overall is None:
        raise SimError(f"{table}: no shipped calibration covers any of its rows")


@profile_app.command()
def refit(
    folder: Annotated[Path, typer.Argument(help="Folder of measured tables: gemm.parquet, moe.parquet and so on.")],
) -> None:
    """Fit every shipped calibration again, from a folder of measured tables.

    Example: servesim profile refit ../shared/data/kernels
    """
    from hardware_profiles.fitting.refit import refit as refit_all

    refit_all(folder, say=say)


def _print_check(result: "Check") -> None:
    names = (Column(name, overflow="fold") for name in ("calibration", "section", "kernel", "constants"))
    numbers = (Column(name, justify="right", no_wrap=True) for name in (*COUNTS, *ERRORS))
    shown = Table(*names, *numbers, box=box.SIMPLE, padding=(0, 1, 0, 0))
    for group in result.groups:
        errors = group.errors
        shown.add_row(
            group.calibration,
            group.section + (" in L2" if group.l2_resident else ""),
            group.kernel,
            group.constants.split(":")[0],
            f"{errors.rows:,}",
            f"{errors.shapes:,}",
            f"{errors.median_error_pct:.1f} %",
            f"{errors.mean_error_pct:.1f} %",
            f"{errors.p90_error_pct:.1f} %",
            f"{errors.worst_error_pct:.0f} %",
            f"{errors.bias_pct:+.1f} %",
        )
    out.print(shown)
    for rest in result.not_covered:
        what = " ".join(part for part in (rest.gpu, rest.dtype, rest.section, rest.kernel) if part)
        say(f"Not covered: {rest.rows:,} rows of {what}: {rest.reason}")
    if result.overall is not None:
        say(f"Overall: {result.overall.rows:,} rows of {result.overall.shapes:,} shapes, {result.overall}")
