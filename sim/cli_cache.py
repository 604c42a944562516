"""`servesim cache`: how much of a trace a prefix cache would hit."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.progress import track
from rich.table import Table

from workloads.files import complete_file

from .cli_workload import Options, Seed, Source, read_options, read_source
from .console import err, out, say
from .errors import SimError, unknown_name
from .eviction import POLICIES, BlockTrace, Policy, Replay, block_trace, find_policy, identity_tokens, replay
from .eviction.curve import CURVE_WRITERS

UNBOUNDED = "unbounded"


def cache(
    source: Source,
    trace_format: Annotated[
        str | None,
        typer.Option(
            "--trace-format", "--format", help="Format of the trace: see `servesim formats`. Not needed for .parquet."
        ),
    ] = None,
    policies: Annotated[
        list[str] | None,
        typer.Option(
            "--policy", help="Eviction policy: see `servesim evictions`. Repeat it to compare; lru if left out."
        ),
    ] = None,
    capacities: Annotated[
        str,
        typer.Option(
            "--capacity-blocks", help="Blocks that the cache holds: a number, unbounded, or several by commas."
        ),
    ] = UNBOUNDED,
    block_tokens: Annotated[
        int | None,
        typer.Option(
            "--block-size", help="Tokens of a block; those of the trace's hashed blocks if left out, else 16."
        ),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(help="YAML with the reuse of each category, for workload-aware; fitted to the past if left out."),
    ] = None,
    options: Options = None,
    seed: Seed = 0,
    output: Annotated[Path | None, typer.Option(help="Curve to write: .png, .csv or .parquet.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Replay a trace through a prefix cache with zero latency, and tell how much it hits.

    Example: servesim cache t.jsonl.gz --trace-format mooncake --policy lru --policy belady
    --capacity-blocks 1000,3000,10000 --output curve.png
    """
    chosen = _find_policies(policies or ["lru"], profile)
    sizes = _capacities(capacities)
    if output is not None and output.suffix not in CURVE_WRITERS:
        raise SimError(unknown_name(f"--output {output}: kind of file", output.suffix, CURVE_WRITERS))
    workload = read_source(source, trace_format, options, seed)
    if block_tokens is None:
        block_tokens = identity_tokens(trace_format, read_options(options))
    trace = block_trace(workload, block_tokens)
    replays = list(_replays(trace, chosen, sizes, profile))
    if output is not None:
        with complete_file(output) as path:
            CURVE_WRITERS[output.suffix](replays, path)
    if as_json:
        summaries = [one.summary() for one in replays]
        print(json.dumps(summaries if len(summaries) > 1 else summaries[0], indent=2))
        return
    _print(trace, replays)
    if output is not None:
        say(f"Written to {output}")


def _find_policies(names: list[str], profile: Path | None) -> list[Policy]:
    chosen = [find_policy(name) for name in names]
    if len(set(names)) < len(names):
        raise SimError("--policy: each policy can be given once")
    if profile is not None and not any(policy.profiled for policy in chosen):
        readers = ", ".join(name for name, policy in POLICIES.items() if policy.profiled)
        raise SimError(f"--profile {profile}: is for {readers}; leave it out")
    return chosen


def _capacities(text: str) -> list[int | None]:
    """The capacities in blocks of a list with commas; None for an unbounded one."""
    sizes = [_capacity(part.strip(), text) for part in text.split(",")]
    if len(set(sizes)) < len(sizes):
        raise SimError(f"--capacity-blocks {text}: each capacity can be given once")
    return sizes


def _capacity(part: str, text: str) -> int | None:
    if part == UNBOUNDED:
        return None
    if not part.isascii() or not part.isdigit() or int(part) < 1:
        raise SimError(f"--capacity-blocks {text}: {part!r} is no number of blocks from 1 on, nor {UNBOUNDED}")
    return int(part)


def _replays(
    trace: BlockTrace, policies: list[Policy], sizes: list[int | None], profile: Path | None
) -> Iterator[Replay]:
    """One of each policy at each capacity, with a bar on a terminal."""
    runs = [(policy, size) for policy in policies for size in sizes]
    for policy, size in track(runs, "replays", console=err, transient=True, disable=not err.is_terminal):
        yield replay(trace, policy, size, profile if policy.profiled else None)


def _print(trace: BlockTrace, replays: list[Replay]) -> None:
    say(
        f"{len(trace.order):,} requests use {len(trace.blocks):,} blocks of {trace.block_tokens} tokens, "
        f"{len(trace.parent):,} different ones"
    )
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for head in ("policy", "capacity\nblocks", "hit\nblocks", "block\nhit ratio", "token\nhit ratio", "evictions"):
        table.add_column(head, justify="left" if head == "policy" else "right", no_wrap=True)
    for one in replays:
        table.add_row(
            one.policy,
            UNBOUNDED if one.capacity_blocks is None else f"{one.capacity_blocks:,}",
            f"{one.hit_blocks:,}",
            f"{one.block_hit_ratio:.2%}",
            f"{one.token_hit_ratio:.2%}",
            f"{one.evictions:,}",
        )
    out.print(table)
