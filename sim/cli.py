"""The `servesim` command."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import BaseModel
from rich import box
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import hardware_profiles
import workloads
from hardware_profiles import ProfileError
from workloads import WorkloadError

from . import cluster
from .autoscaling.registry import autoscaler_descriptions
from .cli_cache import cache
from .cli_compare import compare
from .cli_explain import explain_command
from .cli_measure import measure
from .cli_plan import plan
from .cli_profile import profile_app
from .cli_report import report
from .cli_routers import evictions, routers
from .cli_scenario import scenario_fields
from .cli_slo import print_slo, warn_of_saturation
from .cli_sweep import sweep
from .cli_validate import validate
from .cli_workload import workload_app
from .console import err, out, print_names, say
from .errors import SimError
from .routing import find_router, parse_router, router_label
from .scenario import Scenario, fleet_label, make_scenario
from .simulation import load_workload, run_scenario
from .trace_events import parse_window, write_trace_events

app = typer.Typer(
    help="ServeSim: a discrete-event simulator of GPU clusters that serve language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(workload_app, name="workload")
app.command()(cache)
app.command()(routers)
app.command()(evictions)
profile_app.command()(measure)
app.add_typer(profile_app, name="profile")
app.command("explain")(explain_command)
app.command()(validate)
app.command()(compare)
app.command()(sweep)
app.command()(report)
app.command()(plan)


def main() -> None:
    """Run the command; what the user got wrong is one line on standard error and exit status 1."""
    try:
        app()
    except (SimError, WorkloadError, ProfileError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'output'}: {error.strerror}")
    except MemoryError:
        _fail("not enough memory for this scenario; use fewer requests or instances")
    except KeyboardInterrupt:
        err.print("servesim: interrupted")
        sys.exit(130)


def _fail(message: str) -> NoReturn:
    print(f"servesim: error: {message}", file=sys.stderr)
    sys.exit(1)


# --- run ----------------------------------------------------------------------------------------------------------


@app.command()
def run(
    scenario: Annotated[Path | None, typer.Argument(help="Scenario YAML; the options below override it.")] = None,
    trace: Annotated[str | None, typer.Option(help="Trace file to replay.")] = None,
    trace_format: Annotated[str | None, typer.Option(help="Its format: see `servesim formats`.")] = None,
    builtin: Annotated[str | None, typer.Option(help="Built-in workload instead of a trace.")] = None,
    pool: Annotated[
        str | None, typer.Option(help="Client pool instead of a trace: see `servesim workload pools`.")
    ] = None,
    gpu: Annotated[str | None, typer.Option(help="GPU: see `servesim gpus`.")] = None,
    model: Annotated[str | None, typer.Option(help="Model: see `servesim models`, or a config.json.")] = None,
    tp: Annotated[int | None, typer.Option(help="Tensor parallelism: GPUs an instance.")] = None,
    instances: Annotated[int | None, typer.Option(help="How many instances.")] = None,
    router: Annotated[
        list[str] | None,
        typer.Option(
            help="Routing policy, as NAME, NAME:OPTION=VALUE,... or 'score: FORMULA': see `servesim routers`. "
            "Repeat it to compare several."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all randomness.")] = None,
    slo: Annotated[
        list[str] | None,
        typer.Option(
            help="Targets of a class of requests, e.g. ttft_s=2,tpot_s=0.05,attainment=0.99 or "
            "category=chatbot,ttft_s=1: see docs/slo.md. Repeat it for more classes; the first that takes a request "
            "counts."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any other scenario field, as FIELD=VALUE, e.g. engine.max_num_seqs=256."),
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="Write requests, itl, series (Parquet) and summary.json here.")
    ] = None,
    trace_events: Annotated[
        Path | None, typer.Option(help="Write every step as Chrome trace events, for Perfetto: .json or .json.gz.")
    ] = None,
    trace_window: Annotated[
        str | None, typer.Option(help="The part of the run that --trace-events shows, as START:END in seconds.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Simulate a scenario and print its latencies.

    Example: servesim run --trace t.jsonl.gz --trace-format mooncake --gpu H20 --model qwen2.5-7b --instances 16
    --router lmetric --out results

    With several --router options the same workload is run once for each, into a folder each.
    """
    fields = scenario_fields(
        scenario,
        (trace, trace_format, builtin, pool),
        slo,
        settings,
        gpu=gpu,
        model=model,
        tp=tp,
        instances=instances,
        seed=seed,
    )
    where = f"{scenario} and options" if scenario else "options"
    choices = [dict(zip(("router", "router_options"), parse_router(text), strict=True)) for text in router or ()]
    scenarios = [make_scenario(fields | choice, where) for choice in choices or [{}]]
    for one in scenarios:
        find_router(one.router, one.router_options)
    labels = [router_label(one.router, one.router_options) for one in scenarios]
    if len(set(labels)) < len(scenarios):
        raise SimError("--router: each policy can be given once with the same options")
    if trace_events and len(scenarios) > 1:
        raise SimError("--trace-events: is for one run; give one --router")
    if trace_window and not trace_events:
        raise SimError("--trace-window: goes with --trace-events FILE")
    window_s = parse_window(trace_window or ":") if trace_events else None
    for folder in (out_folder, trace_events and trace_events.parent):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
    requests = load_workload(scenarios[0])
    summaries = []
    for one, label in zip(scenarios, labels, strict=True):
        with _progress_bar(label, len(requests)) as progress:
            result = run_scenario(one, requests, progress=progress, trace_window_s=window_s)
        summaries.append(result.summary)
        if trace_events and window_s:
            write_trace_events(result, trace_events, window_s)
        if out_folder:
            result.write(out_folder / _file_name(label) if len(scenarios) > 1 else out_folder)
    warn_of_saturation(summaries)
    if as_json:
        print(json.dumps(summaries if len(summaries) > 1 else summaries[0], indent=2))
        return
    _print_summaries(scenarios[0], summaries)
    if out_folder:
        say(f"Written to {out_folder}/")
    if trace_events:
        say(f"{trace_events}: open it in https://ui.perfetto.dev")


def _file_name(label: str) -> str:
    """A policy's folder: its name and options, without what a path may not have."""
    return re.sub(r"[^\w.,=+*()-]+", "-", label)


@contextmanager
def _progress_bar(label: str, requests: int) -> Iterator[Callable[[cluster.Progress], None] | None]:
    """A live bar on a terminal, nothing elsewhere."""
    if not err.is_terminal:
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} requests"),
        TextColumn("{task.fields[simulated]} simulated, {task.fields[speed]} requests/s"),
        TimeElapsedColumn(),
    )
    started = time.perf_counter()
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(label, total=requests, simulated="0 s", speed="-")

        def update(now: cluster.Progress) -> None:
            speed = now.finished_requests / (time.perf_counter() - started)
            bar.update(
                task,
                completed=now.finished_requests,
                simulated=f"{now.simulated_s:,.0f} s",
                speed=f"{speed:,.0f}",
            )

        yield update


def _print_summaries(scenario: Scenario, summaries: list[dict[str, Any]]) -> None:
    first, groups = summaries[0], scenario.groups()
    models = _each(group.model for group in groups)
    say(
        f"{first['requests']:,} requests on {fleet_label(groups)}, {models}: "
        f"{first['input_tokens']:,} prompt and {first['output_tokens']:,} output tokens, "
        f"{_each(format(group['kv_blocks'], ',') for group in first['groups'])} KV blocks an instance"
    )
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    heads = (
        "router",
        "hit\nratio",
        "TTFT s\nmean",
        "\np50",
        "\np99",
        "TPOT ms\nmean",
        "\np99",
        "E2E s\nmean",
        "\nreq/s",
    )
    for head in heads:
        table.add_column(head, justify="left" if head == "router" else "right", no_wrap=True)
    for one in summaries:
        mark = "*" if one["saturated"]["saturated"] else ""
        table.add_row(
            router_label(one["scenario"]["router"], one["scenario"]["router_options"]),
            _number(one["hit_ratio"], ".1%"),
            *(_number(one["ttft_s"][key], ".3f") + mark for key in ("mean", "p50", "p99")),
            *(_number(one["tpot_s"][key], ".2f", 1e3) for key in ("mean", "p99")),
            _number(one["e2e_s"]["mean"], ".2f") + mark,
            _number(one["requests_per_s"], ".2f"),
        )
    out.print(table)
    if first["slo"]:
        print_slo(summaries)
    if first["warmup_requests"]:
        say(f"{first['warmup_requests']:,} requests of the first {scenario.warmup_s:g} s are not measured.")
    for one in summaries:
        _say_tiers_and_refusals(one)
    if first["assumptions"]:
        lists = [f"`servesim gpus {group.gpu}` (--precision)" for group in groups]
        lists += [f"`servesim engines {group.serving_engine}`" for group in groups]
        say(
            f"{len(first['assumptions'])} constants behind these step times are assumptions, not measurements: "
            f"{' and '.join(dict.fromkeys(lists))} list them."
        )
    if first["requests_beyond_context"]:
        say(
            f"{first['requests_beyond_context']:,} requests are longer than the context of {models}; they are "
            "simulated as if the model took them."
        )
    if any(one["operations_not_reached"] for one in summaries):
        say("Some operations came after the last request had finished, and did not happen.")


def _each(values: Iterable[str]) -> str:
    """The different ones."""
    return " or ".join(dict.fromkeys(values))


def _say_tiers_and_refusals(summary: dict[str, Any]) -> None:
    """What the table has no columns for, with the router's name."""
    label = router_label(summary["scenario"]["router"], summary["scenario"]["router_options"])
    for tier, place in (("host_cache", "host memory"), ("kv_pool", "the pool")):
        if summary[tier] is not None:
            say(
                f"{label}: {_number(summary[tier]['hit_ratio'], '.1%')} of the prompt tokens loaded from {place} "
                f"({summary[tier]['loaded_blocks']:,} blocks in all, {summary[tier]['written_blocks']:,} written)."
            )
    if summary["rejected"]:
        say(f"{label}: {summary['rejected']:,} requests were refused; the figures are of the others.")


def _number(value: float | None, form: str, scale: float = 1.0) -> str:
    return "-" if value is None else format(value * scale, form)


# --- what there is ------------------------------------------------------------------------------------------------


@app.command()
def autoscalers() -> None:
    """List the autoscalers and their options. Example: servesim autoscalers"""
    print_names("autoscaler", autoscaler_descriptions())


@app.command()
def formats() -> None:
    """List the trace formats. Example: servesim formats"""
    print_names("format", workloads.formats())


@app.command()
def gpus(
    name: Annotated[str | None, typer.Argument(help="Show all values of this GPU.")] = None,
    precision: Annotated[
        str, typer.Option(help="With NAME, whose calibration: bf16, fp8, fp8-block or int4.")
    ] = "bf16",
) -> None:
    """List the GPUs, or all values of one with their sources. Example: servesim gpus H20 --precision fp8"""
    if name is None:
        table = Table("GPU", "bf16 TFLOPS", "fp8 TFLOPS", "memory (GB)", "HBM (GB/s)", "link (GB/s)")
        for known in hardware_profiles.gpu_names():
            gpu = hardware_profiles.load_gpu(known)
            values = (gpu.bf16_tflops, gpu.fp8_tflops, gpu.memory_gb, gpu.hbm_gb_per_s, gpu.interconnect_gb_per_s)
            table.add_row(gpu.name, *("-" if quantity is None else f"{quantity.value:g}" for quantity in values))
        out.print(table)
        return
    gpu, weights = hardware_profiles.load_gpu(name), hardware_profiles.precision(precision)
    gpu.peak_flops_per_s(weights.peak)  # refuses what it has no units for
    _say_quantities("gpu", gpu)
    _say_quantities("calibration", hardware_profiles.load_calibration(gpu.name, weights.name))


@app.command()
def engines(name: Annotated[str | None, typer.Argument(help="Show all values of this serving engine.")] = None) -> None:
    """List the serving engines, or all values of one. Example: servesim engines vllm"""
    if name is None:
        profiles = {known: hardware_profiles.load_engine(known) for known in hardware_profiles.engine_names()}
        print_names("engine", {known: f"{engine.name} {engine.version}" for known, engine in profiles.items()})
        return
    engine = hardware_profiles.load_engine(name)
    _say_quantities("engine", engine)
    sizes = ", ".join(map(str, engine.cuda_graph.capture_batch_tokens))
    say(f"engine.cuda_graph.capture_batch_tokens = {sizes}\n    source: {engine.cuda_graph.source}")


def _say_quantities(kind: str, profile: BaseModel) -> None:
    for path, quantity in hardware_profiles.quantities(profile).items():
        say(f"{kind}.{path} = {quantity.value:g} {quantity.unit}\n    source: {quantity.source}")
        if quantity.assumption:
            say(f"    assumption: {quantity.reason}")


@app.command()
def models() -> None:
    """List the models. Example: servesim models"""
    table = Table("model", "parameters (10^9)", "active", "layers", "hidden", "heads", "KV heads", "KV bytes/token")
    for known in hardware_profiles.model_names():
        shape = hardware_profiles.load_model(known)
        table.add_row(
            known,
            f"{shape.parameters / 1e9:.2f}",
            f"{shape.active_parameters / 1e9:.2f}",
            str(len(shape.layers)),
            str(shape.hidden_size),
            str(shape.attention.heads),
            str(getattr(shape.attention, "kv_heads", "latent")),
            f"{shape.shard().kv_bytes_per_token(hardware_profiles.kv_format('bf16')):,.0f}",
        )
    out.print(table)


if __name__ == "__main__":
    main()
