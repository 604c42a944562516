"""`servesim routers` and `servesim evictions`: what policies there are, and all about one of them."""

from typing import Annotated

import typer
from rich import box
from rich.table import Table

from .console import out, print_lines, say
from .eviction import POLICIES, find_policy
from .kernel.routing import Router
from .kernel.state import EVICTIONS
from .routing import describe_router, router_descriptions

NAME_HELP = "Show all about this policy."


def routers(name: Annotated[str | None, typer.Argument(help=NAME_HELP)] = None) -> None:
    """List the routing policies, or all about one: formula, source, options. Example: servesim routers dynamo"""
    if name is None:
        print_lines(router_descriptions())
        say("All about a policy: servesim routers NAME")
        return
    router = describe_router(name)
    _print_text(name, router.description, router.details)
    if router.options:
        out.print(_options(router))
    if router.tallies:
        say(f"Counts in the summary, router_tallies: {', '.join(router.tallies)}")


def evictions(name: Annotated[str | None, typer.Argument(help=NAME_HELP)] = None) -> None:
    """List the eviction policies, by what goes first, or all about one. Example: servesim evictions gdsf"""
    if name is None:
        print_lines({known: policy.description for known, policy in POLICIES.items()})
        say("All about a policy: servesim evictions NAME")
        return
    policy = find_policy(name, "policy")
    _print_text(name, policy.description, policy.details)
    if name in EVICTIONS:
        say(f"Inside the engines of a scenario: engine.eviction: {name}")


def _print_text(name: str, description: str, details: tuple[str, ...]) -> None:
    for paragraph in (f"{name}: {description}", *details):
        out.print(paragraph, highlight=False, markup=False, soft_wrap=False)
        out.print()


def _options(router: Router) -> Table:
    table = Table("option", "default", "range", "unit", "meaning", box=box.SIMPLE_HEAD, padding=(0, 1))
    for option, spec in router.options.items():
        table.add_row(option, f"{spec.default:g}", f"{spec.low:g} to {spec.high:g}", spec.unit or "-", spec.meaning)
    return table
