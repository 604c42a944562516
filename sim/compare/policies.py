"""What is compared: scenarios that differ in anything but their requests, each under a name."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..console import assignment, set_field
from ..deployment import deployments
from ..errors import SimError
from ..routing import find_router, parse_router, router_label
from ..scenario import Scenario, WorkloadSource, make_scenario, read_scenario


@dataclass(frozen=True)
class Policy:
    """A scenario under the name that tables and figures give it. The scenario's seed is the first one."""

    name: str
    scenario: Scenario


def read_policies(paths: Sequence[Path], routers: Sequence[str], settings: Sequence[str]) -> list[Policy]:
    """Every scenario file with every router; ``settings``, FIELD=VALUE, hold for all. Without files they are all.

    Raises `SimError` for what cannot be compared, `hardware_profiles.ProfileError` for what cannot be deployed.
    """
    assignments = [
        assignment("--set", setting, "FIELD=VALUE, for example workload.builtin=chatbot") for setting in settings
    ]
    policies: list[Policy] = []
    files: Sequence[Path | None] = paths or [None]
    names: Sequence[str | None] = routers or [None]
    for path in files:
        fields = read_scenario(path) if path else {}
        for field, value in assignments:
            set_field(fields, field, value)
        if "workload" not in fields:
            raise SimError(
                "nothing to compare: give scenario files, or a workload, e.g. --set workload.builtin=chatbot"
            )
        policies += [_policy(fields, path, name, several_files=len(files) > 1) for name in names]
    check_policies(policies)
    return policies


def _policy(fields: dict[str, Any], path: Path | None, router: str | None, several_files: bool) -> Policy:
    where = f"{path} and options" if path else "options"
    if router is not None:
        name, options = parse_router(router)
        fields = fields | {"router": name, "router_options": options}
    scenario = make_scenario(fields, where)
    parts = [path.stem] if path and (several_files or router is None) else []
    if router is not None or path is None:
        parts.append(router_label(scenario.router, scenario.router_options))
    return Policy("/".join(parts), scenario)


def check_policies(policies: Sequence[Policy]) -> None:
    """Refuse what would fail for every seed, names that stand twice, and scenarios of different requests."""
    for name, count in Counter(policy.name for policy in policies).items():
        if count > 1:
            raise SimError(f"{name}: stands {count} times; give each router and each scenario file name once")
    first = policies[0]
    for policy in policies:
        find_router(policy.scenario.router, policy.scenario.router_options)
        deployments(policy.scenario)
        if _located(policy.scenario.workload) != _located(first.scenario.workload):
            raise SimError(
                f"{policy.name}: workload: is not that of {first.name}; policies are compared on the same one"
            )
        if policy.scenario.seed != first.scenario.seed:
            raise SimError(
                f"{policy.name}: seed: is {policy.scenario.seed}, that of {first.name} {first.scenario.seed}; "
                "give all the same, for example with --set seed=0"
            )


def _located(source: WorkloadSource) -> WorkloadSource:
    """The source with its file's one true path, as two scenario files can lead to it by different ones."""
    found = {
        field: str(Path(name).resolve())
        for field, name in (("trace", source.trace), ("pool", source.pool))
        if name is not None and Path(name).exists()
    }
    return source.model_copy(update=found)
