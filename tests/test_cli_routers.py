"""`servesim routers` and `servesim evictions`."""

from typing import Any

import pytest

from sim.eviction import POLICIES
from sim.kernel.routing import ROUTERS
from sim.kernel.state import EVICTIONS

LONGEST_SENTENCE = 80  # characters
UNITS = {"_s": "s", "_tokens": "tokens", "_requests": "requests"}


def test_a_line_a_router(servesim: Any) -> None:
    status, printed, _ = servesim("routers")
    assert status == 0
    lines = printed.splitlines()
    assert [line.split()[0] for line in lines] == [*sorted(ROUTERS), "score", "All"]
    of_name = {line.split()[0]: line for line in lines}
    assert of_name["dynamo"].endswith("(Dynamo) [overlap_weight=1 temperature=0]")
    for name, router in ROUTERS.items():
        assert 0 < len(router.description) <= LONGEST_SENTENCE, name
        assert all(f"{option}={spec.default:g}" in of_name[name] for option, spec in router.options.items())


@pytest.mark.parametrize("name", ROUTERS)
def test_all_about_a_router(name: str, servesim: Any) -> None:
    status, printed, _ = servesim("routers", name)
    text = " ".join(printed.split())
    assert status == 0
    router = ROUTERS[name]
    assert text.startswith(f"{name}: {router.description}")
    assert all(paragraph in text for paragraph in router.details)
    for option, spec in router.options.items():
        assert option in text and f"{spec.low:g} to {spec.high:g}" in text
        assert all(spec.unit == unit for suffix, unit in UNITS.items() if option.endswith(suffix)), option


def test_what_is_not_everybody_s_has_its_source() -> None:
    own = {name for name, router in ROUTERS.items() if not any("Source: " in part for part in router.details)}
    assert own == {"random", "round-robin", "least-requests", "least-tokens", "session-affinity"}


def test_a_formula_and_tallies(servesim: Any) -> None:
    assert "queued_prefill" in servesim("routers", "score")[1]
    assert "router_tallies: hot_prefix_alarms, requests_diverted" in servesim("routers", "lmetric-guarded")[1]


def test_evictions(servesim: Any) -> None:
    lines = servesim("evictions")[1].splitlines()
    assert [line.split()[0] for line in lines] == [*POLICIES, "All"]
    assert max(len(policy.description) for policy in POLICIES.values()) <= LONGEST_SENTENCE
    for name, policy in POLICIES.items():
        status, printed, _ = servesim("evictions", name)
        text = " ".join(printed.split())
        assert status == 0 and all(paragraph in text for paragraph in (policy.description, *policy.details))
        assert (f"engine.eviction: {name}" in text) == (name in EVICTIONS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["routers", "lmetrik"], "router: 'lmetrik' is unknown; did you mean lmetric or"),
        (["routers", "scor"], "router: 'scor' is unknown; did you mean score"),
        (["evictions", "lr"], "policy: 'lr' is unknown; did you mean lru?"),
    ],
)
def test_an_unknown_name(arguments: list[str], message: str, servesim: Any) -> None:
    status, _, error = servesim(*arguments)
    assert status == 1
    assert message in error and len(error.splitlines()) == 1
