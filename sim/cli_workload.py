"""`servesim workload`: describe, generate, convert and fit workloads."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from rich import box
from rich.table import Table
from rich.text import Text

import workloads
from workloads import Workload, compose, export
from workloads.files import complete_file
from workloads.nominal import open_loop
from workloads.pools import load_pool, pool_names, save_pool

from .console import assignment, out, print_names, say
from .errors import SimError, unknown_name
from .pool_source import read_pool

WRITERS: dict[str, Callable[[Workload, Path], None]] = {
    "parquet": Workload.to_parquet,
    "csv": export.to_csv,
    "mooncake": export.to_mooncake,
    "vllm": export.to_vllm,
}
WANT_TIMES = ("mooncake", "vllm")  # formats without follow-ups

workload_app = typer.Typer(
    help="Describe, generate, convert and fit workloads. Example: servesim workload describe chatbot",
    no_args_is_help=True,
)

Source = Annotated[str, typer.Argument(help="Trace file, or a recipe: see `servesim workload recipes`.")]
Format = Annotated[
    str | None, typer.Option("--format", help="Format of the trace: see `servesim formats`. Not needed for .parquet.")
]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", help="Option of the trace format or recipe, as NAME=VALUE. May be repeated."),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all randomness.")]
MissingLengths = Annotated[
    Literal["refuse", "skip", "borrow"] | None,
    typer.Option(help="What to do with clients of a ServeGen folder that have no lengths."),
]
OutFile = Annotated[Path, typer.Option("--out", help="File to write.")]
To = Annotated[
    str | None, typer.Option(help="parquet, csv, mooncake or vllm. Not needed for a file of suffix .parquet or .csv.")
]
OpenLoop = Annotated[
    bool, typer.Option("--open-loop", help="Give follow-ups the arrival times they would have on an idle server.")
]


@workload_app.command()
def describe(
    source: Source,
    trace_format: Format = None,
    options: Options = None,
    block_tokens: Annotated[int, typer.Option(min=1, help="Tokens of a cache block.")] = 16,
    window_s: Annotated[
        float | None, typer.Option("--window", help="Seconds of a window of what is told over time.")
    ] = None,
    seed: Seed = 0,
    report: Annotated[Path | None, typer.Option("--out", help="Report to write: .html, .png or .json.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole description as JSON.")] = False,
) -> None:
    """Tell what a workload is like: arrivals, lengths, clients, conversations, cache reuse.

    Example: servesim workload describe t.jsonl.gz --format mooncake --out report.html
    """
    from workloads import characterize  # it brings Matplotlib: 0.4 s that other commands need not wait for
    from workloads.characterize.page import SUFFIXES

    if report is not None and report.suffix not in SUFFIXES:
        raise SimError(unknown_name(f"--out {report}: kind of report", report.suffix, SUFFIXES))
    description = characterize.describe(
        read_source(source, trace_format, options, seed), block_tokens=block_tokens, window_s=window_s
    )
    if report is not None:
        with complete_file(report) as path:
            characterize.write_report(description, path, title=Path(source).name)
    if as_json:
        print(description.to_json())
        return
    table = Table(box=box.SIMPLE, show_header=False, padding=(0, 1))
    for name, value in description.headline():
        table.add_row(name, Text(value))
    out.print(table)
    if report is not None:
        say(f"Written to {report}")


@workload_app.command()
def generate(
    pool: Annotated[
        str,
        typer.Argument(
            help="Pool or recipe: see `servesim workload pools` and `recipes`; or a pool's file, or a ServeGen folder."
        ),
    ],
    path: OutFile,
    rate_per_s: Annotated[
        float | None, typer.Option("--rate", help="Requests per second of the whole, instead of the pool's own.")
    ] = None,
    scale: Annotated[float, typer.Option(help="Multiple of every client's own rate.")] = 1.0,
    start_s: Annotated[float | None, typer.Option("--start", help="Where to start in the pool's time, s.")] = None,
    duration_s: Annotated[
        float | None,
        typer.Option("--duration", help="Seconds; if left out, to the pool's end, or 2,000 requests of a recipe."),
    ] = None,
    seed: Seed = 0,
    missing_lengths: MissingLengths = None,
    options: Options = None,
    to: To = None,
    in_open_loop: OpenLoop = False,
) -> None:
    """Compose a workload of clients. That of a pool is streamed to Parquet, so that any number of requests fits.

    Example: servesim workload generate m-large --start 64800 --duration 3600 --rate 20 --seed 0 --out evening.parquet

    Recipes take --rate, --duration and, as --option, what else they have:
    servesim workload generate chatbot --rate 8 --duration 600 --option clients=20 --out chat.parquet
    """
    to = _writer(to, path)
    if pool in workloads.BUILTINS:
        for option, is_given in (
            ("--scale", scale != 1),
            ("--start", start_s is not None),
            ("--missing-lengths", missing_lengths is not None),
        ):
            if is_given:
                raise SimError(f"{option}: is for pools, and {pool} is a recipe; leave it out")
        given = read_options(options)
        for option, name, value in (("--rate", "rate_per_s", rate_per_s), ("--duration", "duration_s", duration_s)):
            if value is not None and name in given:
                raise SimError(f"{option}: is the option {name}, which is given too; leave one out")
            if value is not None:
                given[name] = value
        _write(workloads.generate(pool, seed, given), to, path, in_open_loop)
        return
    if options:
        raise SimError(f"--option {options[0]}: is for recipes, and {pool} is a pool; leave it out")
    if pool not in pool_names() and not Path(pool).exists():
        raise SimError(unknown_name("pool or recipe", pool, [*pool_names(), *workloads.BUILTINS]) + "; or give a file")
    clients = read_pool(pool, missing_lengths)
    span: dict[str, Any] = {"start_s": start_s, "duration_s": duration_s, "rate_per_s": rate_per_s, "scale": scale}
    if to == "parquet":
        requests = compose.write_parquet(path, compose.generate_chunks(clients, seed=seed, **span))
        _say_written(requests, path)
    else:
        _write(compose.generate(clients, seed=seed, **span), to, path, in_open_loop)
    for note in clients.notes:
        say(note)


@workload_app.command()
def convert(
    source: Source,
    path: OutFile,
    trace_format: Format = None,
    options: Options = None,
    seed: Seed = 0,
    to: To = None,
    in_open_loop: OpenLoop = False,
) -> None:
    """Write a trace or a recipe's workload in another format, to be played against a server or read by other tools.

    Example: servesim workload convert t.jsonl.gz --format mooncake --to vllm --out prompts.jsonl
    """
    to = _writer(to, path)
    _write(read_source(source, trace_format, options, seed), to, path, in_open_loop)


@workload_app.command()
def fit(
    source: Annotated[Path, typer.Argument(help="ServeGen folder or trace file.")],
    path: OutFile,
    source_format: Annotated[
        str, typer.Option("--format", help="servegen, or the format of the trace: see `servesim formats`.")
    ] = "servegen",
    options: Options = None,
    missing_lengths: MissingLengths = None,
    name: Annotated[str | None, typer.Option(help="Name of the pool; the source's if left out.")] = None,
    origin: Annotated[str | None, typer.Option(help="Source and licence of the data, kept in the file.")] = None,
) -> None:
    """Turn a trace or a ServeGen folder into a compact pool, a file that `generate` and scenarios take.

    Clients of a ServeGen folder without lengths borrow them from the others, unless --missing-lengths says otherwise.

    Example: servesim workload fit ServeGen/data/language/m-large --out m-large.npz.xz
    """
    from workloads.fit import fit_source  # it brings SciPy's statistics, which other commands need not wait for

    if source_format == "servegen" and options:
        raise SimError(f"--option {options[0]}: is for trace formats; a ServeGen folder has none")
    if source_format != "servegen" and missing_lengths is not None:
        raise SimError(f"--missing-lengths {missing_lengths}: is for ServeGen folders; leave it out")
    pool = fit_source(
        source,
        source_format,
        missing_lengths=missing_lengths or "borrow",
        name=name,
        origin=origin,
        options=read_options(options),
    )
    with complete_file(path) as partial:
        save_pool(pool, partial)
    for note in pool.notes:
        say(note)
    say(f"Written to {path}: clients {len(pool.clients):,}, {path.stat().st_size / 1e3:,.0f} kB")


@workload_app.command()
def pools(name: Annotated[str | None, typer.Argument(help="Show where this one comes from.")] = None) -> None:
    """List the client pools, or tell where one comes from.

    Example: servesim workload pools m-large
    """
    if name is not None:
        for note in load_pool(name).notes:
            say(note)
        return
    table = Table("pool", "clients", "hours", "requests/s", "share of the top 10")
    for known in pool_names():
        pool = load_pool(known)
        seconds = np.diff(pool.edges_s)
        table.add_row(
            known,
            f"{len(pool.clients):,}",
            f"{seconds.sum() / 3600:,.0f}",
            f"{pool.rate_per_s @ seconds / seconds.sum():,.1f}",
            f"{np.sort(pool.shares)[-10:].sum():.1%}",
        )
    out.print(table)


@workload_app.command()
def recipes() -> None:
    """List the recipes, which are the built-in workloads.

    Example: servesim workload recipes
    """
    print_names("recipe", {name: recipe.description for name, recipe in workloads.BUILTINS.items()})


def read_source(source: str, trace_format: str | None, options: list[str] | None, seed: int) -> Workload:
    """The trace or the recipe's workload called ``source``."""
    given = read_options(options)
    if trace_format is None and source in workloads.BUILTINS:
        return workloads.generate(source, seed, given)
    if trace_format is None and source.endswith(".parquet"):
        trace_format = "parquet"
    if trace_format is None:
        known = ", ".join(workloads.BUILTINS)
        raise SimError(
            f"{source}: is no recipe (known: {known}); if it is a trace, give --format (see `servesim formats`)"
        )
    return workloads.load(source, trace_format, **given)


def _write(workload: Workload, to: str, path: Path, in_open_loop: bool) -> None:
    if in_open_loop:
        workload = open_loop(workload)
    follow_ups = int((workload.parent >= 0).sum())
    if follow_ups and to in WANT_TIMES:
        raise SimError(
            f"{path}: {follow_ups:,} follow-ups have no times of their own, which {to} needs; add --open-loop"
        )
    with complete_file(path) as partial:
        WRITERS[to](workload, partial)
    _say_written(len(workload), path)


def _say_written(requests: int, path: Path) -> None:
    say(f"{requests:,} requests written to {path}")


def read_options(options: list[str] | None) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for option in options or []:
        name, value = assignment("--option", option, "NAME=VALUE, for example time_unit=ms")
        if name in given:
            raise SimError(f"--option {option}: {name} is given twice")
        given[name] = value
    return given


def _writer(to: str | None, path: Path) -> str:
    """The name of the format to write: as given, else as the file's suffix says."""
    to = path.suffix.removeprefix(".") if to is None and path.suffix in (".parquet", ".csv") else to
    if to is None:
        raise SimError(f"--out {path}: the suffix does not tell the format; give --to {' or '.join(WRITERS)}")
    if to not in WRITERS:
        raise SimError(unknown_name("--to", to, WRITERS))
    return to
