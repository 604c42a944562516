"""A plan as JSON, as tables and as a folder (docs/planning.md)."""

import json
import math
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from workloads.files import complete_file

from ..statistics import CONFIDENCE
from .pareto import draw, frontier
from .planner import Answer, Plan, Tried

SCHEMA_VERSION = 1


def as_fields(plan: Plan, find: str, facts: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a plan for ``find``, instances or rate; ``facts`` are what it was made with."""
    first, *_ = answers = [answer_fields(one, find) for one in plan.answers]
    best = frontier(plan.tried)
    tried = [tried_fields(one, find) | {"pareto": one in best} for one in plan.tried]
    notes = [{"candidate": name, "note": note} for name, note in plan.notes.items()]
    return {"schema_version": SCHEMA_VERSION, **first, "candidates": answers, "notes": notes, "tried": tried, **facts}


def answer_fields(answer: Answer, find: str) -> dict[str, Any]:
    tried, verdict = answer.tried, answer.tried.verdict
    groups = tried.trial.groups
    interval = verdict.attainment
    return {
        "answer": _size(tried, find),
        "unit": "instances" if find == "instances" else "requests_per_s",
        "candidate": answer.candidate,
        "fleet": tried.trial.label,
        "gpu": "+".join(dict.fromkeys(group.gpu for group in groups)),
        "tp": groups[0].tp if len({group.tp for group in groups}) == 1 else [group.tp for group in groups],
        "gpus": sum(group.instances * group.tp * group.pp for group in groups),
        "rate_per_s": tried.trial.rate_per_s,
        "attainment": interval.mean,
        "confidence": {
            "level": CONFIDENCE,
            "seeds": interval.seeds,
            "seeds_holding": verdict.seeds_holding,
            "tightest": verdict.tightest,
            "wanted": verdict.wanted,
            "low": _number(interval.low),
            "high": _number(interval.high),
        },
        "neighbours": [tried_fields(one, find) for one in answer.neighbours],
        **_cost_fields(tried),
        "cost_per_million_total_tokens": tried.cost.per_million(
            verdict.mean("input_tokens_per_s") + verdict.mean("output_tokens_per_s")
        ),
        "gpus_cost_per_hour": tried.cost.gpus_per_hour,
        "energy_cost_per_hour": tried.cost.energy_per_hour,
        "power_kw": tried.cost.power_kw,
        "busy_fraction": verdict.busy,
        "measured": {
            name: verdict.mean(name) for name in ("requests_per_s", "input_tokens_per_s", "output_tokens_per_s")
        },
        "instances_by_group": {group.name: group.instances for group in groups},
    }


def tried_fields(tried: Tried, find: str) -> dict[str, Any]:
    verdict = tried.verdict
    return {
        "instances" if find == "instances" else "requests_per_s": _size(tried, find),
        "fleet": tried.trial.label,
        "attainment": verdict.attainment.mean,
        "low": _number(verdict.attainment.low),
        "high": _number(verdict.attainment.high),
        "tightest": verdict.tightest,
        "holds": verdict.holds,
        "verdict": verdict.told,
        "seeds_holding": verdict.seeds_holding,
        "seeds_saturated": verdict.saturated,
        **_cost_fields(tried),
    }


def _cost_fields(tried: Tried) -> dict[str, float]:
    output_tokens_per_s = tried.verdict.mean("output_tokens_per_s")
    return {
        "cost_per_hour": tried.cost.per_hour,
        "cost_per_million_tokens": tried.cost.per_million(output_tokens_per_s),
    }


def _size(tried: Tried, find: str) -> int | float:
    trial = tried.trial
    return sum(group.instances for group in trial.groups) if find == "instances" else trial.rate_per_s


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def table(plan: Plan) -> Table:
    """A line for every candidate that holds and its neighbours."""
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    heads = (
        "candidate",
        "fleet",
        "requests/s",
        "attained",
        f"{CONFIDENCE:.0%} interval",
        "SLO",
        "$/h",
        "$ per 10^6\noutput tokens",
    )
    for head in heads:
        shown.add_column(head, justify="left" if head in ("candidate", "fleet", "SLO") else "right")
    for answer in plan.answers:
        shown.add_section()
        name = answer.candidate
        for tried in (answer.tried, *answer.neighbours):
            interval, cost = tried.verdict.attainment, tried.cost
            bounds = "-" if math.isnan(interval.low) else f"{interval.low:.2%} .. {interval.high:.2%}"
            shown.add_row(
                name,
                tried.trial.label,
                f"{tried.trial.rate_per_s:g}",
                f"{interval.mean:.2%}",
                bounds,
                tried.verdict.told,
                f"{cost.per_hour:.2f}",
                f"{cost.per_million(tried.verdict.mean('output_tokens_per_s')):.3f}",
            )
            name = ""
    return shown


def write(plan: Plan, find: str, fields: dict[str, Any], folder: Path) -> None:
    """plan.json and pareto.png; each appears complete or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with complete_file(folder / "plan.json") as path:
        path.write_text(json.dumps(fields, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    with complete_file(folder / "pareto.png") as path:
        draw(plan.tried, find).savefig(path, format="png", dpi=110, metadata={"Software": None})
