"""What `servesim run` says of service-level objectives, and of runs whose queue grows."""

from typing import Any

from rich import box
from rich.table import Table

from .console import assignment, err, out, say
from .routing import router_label
from .slo import PER_REQUEST

EXAMPLE = "NAME=VALUE,..., for example ttft_s=2,tpot_s=0.05,attainment=0.99"


def slo_fields(text: str) -> dict[str, Any]:
    """The class of the SLO that ``--slo`` gives: its targets and selectors by name."""
    return dict(assignment("--slo", part.strip(), EXAMPLE) for part in text.split(","))


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.2%}"


def print_slo(summaries: list[dict[str, Any]]) -> None:
    """A line per policy and class of the SLO."""
    heads = ("router", "class", "requests", *(f"{name[:-2].upper()}\nwithin" for name in PER_REQUEST), "ITL ms\np99")
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    for head in (*heads, "good", "95 %\ninterval", "good\nreq/s", "SLO\nholds"):
        table.add_column(head, justify="left" if head in ("router", "class") else "right", no_wrap=True)
    for summary in summaries:
        name = router_label(summary["scenario"]["router"], summary["scenario"]["router_options"])
        for one in summary["slo"]["classes"]:
            attained = [one["attained"].get(metric, {}).get("share") for metric in PER_REQUEST]
            itl_p99_s, good = one["itl_p99_s"], one["good"]
            table.add_row(
                name,
                one["class"],
                f"{one['requests']:,}",
                *map(_percent, attained),
                "-" if itl_p99_s is None else f"{1e3 * itl_p99_s:.1f}",
                _percent(good["share"]),
                "-" if good["low"] is None else f"{100 * good['low']:.1f} .. {100 * good['high']:.1f}",
                "-" if one["good_requests_per_s"] is None else f"{one['good_requests_per_s']:.2f}",
                {True: "yes", False: "no", None: "-"}[one["holds"]],
            )
            name = ""
    out.print(table)
    without = summaries[0]["slo"]["requests_without_slo"]
    if without:
        say(f"{without:,} requests belong to no class of the SLO and are not judged.")


def warn_of_saturation(summaries: list[dict[str, Any]]) -> None:
    """On standard error, for each run whose queue grows."""
    for summary in summaries:
        told = summary["saturated"]
        if told["saturated"]:
            name = router_label(summary["scenario"]["router"], summary["scenario"]["router_options"])
            err.print(
                f"servesim: {name} is saturated: of {told['offered_per_s']:.3g} requests/s that come, "
                f"{told['growth_per_s']:.3g} join a queue that only grows ({told['backlog_requests']:,} wait when "
                "the last comes); its latencies, marked with *, grow with the length of the run",
                highlight=False,
                soft_wrap=True,
                markup=False,
            )
