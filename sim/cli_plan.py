"""`servesim plan`: the smallest fleet that keeps an SLO, or the highest rate that a fleet sustains."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .cli_scenario import scenario_fields
from .console import assignment, out, progress_bar, say
from .errors import SimError, unknown_name
from .scenario import Scenario, make_scenario

FINDS = ("instances", "rate")


def plan(
    scenario: Annotated[Path | None, typer.Argument(help="Scenario YAML; the options below override it.")] = None,
    trace: Annotated[str | None, typer.Option(help="Trace file to replay.")] = None,
    trace_format: Annotated[str | None, typer.Option(help="Its format: see `servesim formats`.")] = None,
    builtin: Annotated[str | None, typer.Option(help="Built-in workload instead of a trace.")] = None,
    pool: Annotated[str | None, typer.Option(help="Client pool instead of a trace.")] = None,
    model: Annotated[str | None, typer.Option(help="Model: see `servesim models`, or a config.json.")] = None,
    slo: Annotated[list[str] | None, typer.Option(help="Targets, e.g. ttft_s=2,tpot_s=0.05,attainment=0.99.")] = None,
    find: Annotated[str, typer.Option(help="What is looked for: instances, or rate.")] = "instances",
    rate: Annotated[
        float | None, typer.Option(min=1e-3, help="Requests per second; the workload's own if left out.")
    ] = None,
    gpus: Annotated[list[str] | None, typer.Option("--gpu", help="GPU to consider. Repeat it.")] = None,
    tps: Annotated[
        list[int] | None, typer.Option("--tp", min=1, help="Tensor parallelism to consider. Repeat it.")
    ] = None,
    mixes: Annotated[
        list[str] | None, typer.Option("--mix", help="Two GPUs to consider together, as H20+H800. Repeat it.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from the scenario's own on.")] = 5,
    requests: Annotated[
        int, typer.Option(min=1000, help="Requests to measure with each seed; traces are taken whole.")
    ] = 20_000,
    max_instances: Annotated[int, typer.Option(min=1, max=100_000, help="The largest fleet to try.")] = 128,
    tolerance: Annotated[float, typer.Option(min=0.001, max=0.5, help="With --find rate, how close.")] = 0.02,
    prices: Annotated[
        list[str] | None, typer.Option("--price", help="Dollars an hour of a GPU without electricity, as H20=1.9.")
    ] = None,
    kwh_price: Annotated[float | None, typer.Option(min=0, help="Dollars per kWh.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any other scenario field, as FIELD=VALUE.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for plan.json and pareto.png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes; as many as there are processors if left out.")
    ] = None,
) -> None:
    """Find the smallest fleet that keeps the SLO at a rate, or with --find rate the highest rate that a fleet sustains.

    Example: servesim plan --builtin chatbot --rate 40 --model qwen2.5-7b --gpu H20 --gpu H800
    --slo ttft_s=2,tpot_s=0.05,attainment=0.99

    docs/planning.md explains how it decides and what it takes as costs.
    """
    from . import planning  # this brings the pool of processes, slow to import
    from .cells.backends import open_pool, processors
    from .compare.seeds import what_seeds_vary
    from .planning.report import as_fields, table, write

    if find not in FINDS:
        raise SimError(unknown_name("--find", find, FINDS))
    fields = scenario_fields(scenario, (trace, trace_format, builtin, pool), slo, settings, model=model)
    base = make_scenario(fields, f"{scenario} and options" if scenario else "options")
    gpus, tps = gpus or [], tps or []
    pairs = [_pair(mix) for mix in mixes or ()]
    _check(base, find, rate, [*gpus, *tps, *pairs])
    loads = planning.Loads(base, requests)
    kinds, rate_per_s = [], 0.0
    if find == "instances":
        asked_per_s = rate or loads.own_rate_per_s
        if asked_per_s is None:
            raise SimError("--rate: is missing; give the requests per second that the fleet is to serve")
        rate_per_s = asked_per_s
        in_mixes = [gpu for pair in pairs for gpu in pair]
        kinds = [
            (gpu, tp)
            for gpu in dict.fromkeys([*gpus, *in_mixes] or [base.gpu])
            for tp in dict.fromkeys(tps or [base.tp])
        ]
    named = [gpu for gpu, _ in kinds] or [group.gpu for group in base.groups()]
    costs = planning.CostModel.make(named, dict(_price(text) for text in prices or ()), kwh_price)
    if output:
        output.mkdir(parents=True, exist_ok=True)
    workers = jobs or processors()
    with (
        open_pool("loky" if workers > 1 else "inline", workers) as workers_pool,
        progress_bar("runs", None) as finished,
    ):
        evaluator = planning.Evaluator(loads, seeds, workers_pool, finished)
        if find == "instances":
            made = planning.plan_fleet(evaluator, costs, rate_per_s, kinds, pairs, max_instances)
        else:
            made = planning.plan_rate(evaluator, costs, tolerance)
    best = made.answers[0].tried
    load = loads.at(best.trial.rate_per_s)
    fleet = {
        "fleet": [group.model_dump(mode="json") for group in best.trial.groups],
        "instances": sum(group.instances for group in best.trial.groups),
    }
    facts: dict[str, Any] = {
        "warmup_s": load.scenario.warmup_s,
        "measured_s": load.measured_s,
        "seeds_vary": what_seeds_vary(base.workload),
        "tolerance": tolerance if find == "rate" else None,
        "assumptions": dict(costs.assumptions),
        "scenario": load.scenario.model_dump(mode="json") | fleet,
    }
    told = as_fields(made, find, facts)
    if output:
        write(made, find, told, output)
    if as_json:
        print(json.dumps(told, indent=2, allow_nan=False))
        return
    if find == "instances":
        say(f"{best.trial.label}: the cheapest that holds at {rate_per_s:g} requests/s, {best.cost.per_hour:.2f} $/h")
    else:
        say(f"{best.trial.rate_per_s:g} requests/s: the most that {best.trial.label} sustain, to {tolerance:.3g}")
    out.print(table(made))
    for name, note in made.notes.items():
        say(f"{name}: {note}")
    say(
        f"Over {seeds} {'seed' if seeds == 1 else 'seeds'}; {told['seeds_vary']}. Each measures "
        f"{load.measured_s:,.0f} s after a warm-up of {load.scenario.warmup_s:,.0f} s."
    )
    for name, assumption in costs.assumptions.items():
        say(f"Assumption: {name}: {assumption}")
    if output:
        say(f"Written to {output}/")


def _check(base: Scenario, find: str, rate: float | None, kinds: list[Any]) -> None:
    if not base.slo:
        raise SimError("slo: a plan needs one; give --slo, for example --slo ttft_s=2,tpot_s=0.05,attainment=0.99")
    for name in ("autoscaler", "operations"):
        if getattr(base, name):
            raise SimError(f"{name}: a plan is for a fleet that stays as it is; leave it out")
    if find == "rate" and (rate is not None or kinds):
        raise SimError("--find rate: is for the scenario's fleet at any rate; leave out --rate, --gpu, --tp and --mix")
    if find == "instances" and base.fleet is not None:
        raise SimError("fleet: its instances are given; use --find rate, or --gpu and --mix without a fleet")


def _pair(mix: str) -> tuple[str, str]:
    first, _, second = mix.partition("+")
    if not first or not second or first == second:
        raise SimError(f"--mix {mix}: expected two different GPUs, for example H20+H800")
    return first, second


def _price(text: str) -> tuple[str, float]:
    name, value = assignment("--price", text, "GPU=DOLLARS, for example H20=1.9")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e6:
        raise SimError(f"--price {text}: expected dollars an hour, for example {name}=1.9")
    return name, float(value)
