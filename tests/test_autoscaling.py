"""Autoscalers: what they see, what they decide, and what the control plane makes of it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from harness import flat_steps, kernel_requests, outcomes
from oracle import Engine as OracleEngine
from oracle import Group as OracleGroup
from oracle import Operation as OracleOperation
from oracle import Row
from oracle import run as run_oracle

from sim import SimError, make_scenario, simulate
from sim.autoscaling.registry import autoscaler_descriptions, find_autoscaler
from sim.autoscaling.scaler import Scaler
from sim.autoscaling.view import FleetView
from sim.cluster import Cluster
from sim.fleet_history import fleet_summary
from sim.kernel.build import Engine, Group
from sim.kernel.steptime import StepTable
from sim.operations import KINDS, PS_PER_S
from sim.scenario import AutoscalerOptions

STEP_PS = PS_PER_S // 10
OPTIONS: dict[str, Any] = {"max_instances": 6, "interval_s": 5.0, "cold_start_s": 12.0, "scale_in_cooldown_s": 20.0}
ENGINE = {"num_blocks": 200, "block_size": 4, "max_num_seqs": 4, "max_num_batched_tokens": 64}


def hill_rows(requests: int = 600, seed: int = 0) -> list[Row]:
    """Arrivals that become three times as frequent and ebb again within about 150 s, every fourth with a follow-up."""
    rng = np.random.default_rng(seed)
    at_s, rows = 0.0, []
    for r in range(requests):
        at_s += rng.exponential(0.5 / (1 + 2 * math.sin(math.pi * r / requests)))
        rows.append(Row(round(at_s * PS_PER_S), int(rng.integers(1, 30)), int(rng.integers(1, 20))))
        if r % 4 == 3:
            think_ps = round(rng.exponential(5.0) * PS_PER_S)
            rows.append(Row(0, 40, 8, parent=len(rows) - 1, think_ps=think_ps))
    return rows


def scaled(policy: Callable[[FleetView], int], rows: list[Row], **options: Any) -> Cluster:
    """The rows on one instance at first, scaled by a policy."""
    steps = StepTable(**vars(flat_steps(STEP_PS)))
    cluster = Cluster(kernel_requests(rows), [Group(Engine(**ENGINE), steps, 1)], "round-robin")
    Scaler(cluster, AutoscalerOptions(**(OPTIONS | options)), np.zeros((1, len(rows))), policy)
    cluster.run()
    return cluster


def by_requests(view: FleetView) -> int:
    return math.ceil((view.waiting_per_instance + view.running_per_instance) * view.ready / 3)


def test_what_the_control_plane_did_gives_the_same_in_the_oracle() -> None:
    """The log of an autoscaled run, given to the oracle as operations."""
    rows = hill_rows()
    cluster = scaled(by_requests, rows, scale_in_cooldown_s=2.0, interval_s=0.5)
    kinds = [event.kind for event in cluster.log]
    assert {"add", "drain", "undrain", "stop"} <= set(kinds), "it scales out and in, and takes draining ones back"
    operations = [
        OracleOperation(event.time_ps, event.kind, event.instance, event.wait_ps)
        for event in cluster.log
        if event.kind in KINDS
    ]
    group = OracleGroup(OracleEngine(**ENGINE), flat_steps(STEP_PS), 1)
    expected = run_oracle(rows, [group], "round-robin", operations=operations, check=False)
    assert outcomes(cluster) == expected


def test_the_log_keeps_the_rules() -> None:
    cluster = scaled(by_requests, hill_rows(), min_instances=1, max_instances=4)
    end_ps = int(cluster.state.req["finish"].max())
    log = cluster.log
    assert max(event.time_ps for event in log) <= end_ps, "no tick after the last finish"
    coming = 1
    for event in log:
        coming += {"add": 1, "undrain": 1, "drain": -1}.get(event.kind, 0)
        assert 1 <= coming <= 4
        assert event.kind == "stop" or event.kind == "ready" or event.time_ps % (5 * PS_PER_S) == 0, "only at ticks"
    for event in log:
        if event.kind == "ready":
            added = next(one for one in log if one.kind == "add" and one.instance == event.instance)
            assert event.time_ps - added.time_ps == 12 * PS_PER_S
        if event.kind == "stop":
            drained = [one for one in log if one.kind == "drain" and one.instance == event.instance][-1]
            served = cluster.state.req[cluster.state.req["instance"] == event.instance]["finish"].max(initial=0)
            assert event.time_ps == max(drained.time_ps, served), "stopped when its last request was done"
    first_drain = next(event for event in log if event.kind == "drain")
    adds = [event.time_ps for event in log if event.kind in ("add", "undrain") and event.time_ps < first_drain.time_ps]
    assert first_drain.time_ps - max(adds) >= 20 * PS_PER_S, "not before the cooldown is over"


def test_gpu_hours_count_from_the_start_to_the_stop() -> None:
    cluster = scaled(by_requests, hill_rows())
    end_ps = int(cluster.state.req["finish"].max())
    history = fleet_summary(cluster.log, end_ps, [2] * len(cluster.status))
    taken_ps = 0
    for i in range(len(cluster.status)):
        start = [event.time_ps for event in cluster.log if event.kind == "add" and event.instance == i] or [0]
        stop = [event.time_ps for event in cluster.log if event.kind == "stop" and event.instance == i] or [end_ps]
        taken_ps += stop[0] - start[0]
    assert history["gpu_hours"] == pytest.approx(2 * taken_ps / PS_PER_S / 3600)
    steps = history["instances_over_time"]
    assert steps[0] == {"time_s": 0.0, "instances": 1}
    times_s = [step["time_s"] for step in steps] + [end_ps / PS_PER_S]
    area_s = sum(step["instances"] * (until - step["time_s"]) for step, until in zip(steps, times_s[1:], strict=True))
    assert area_s == pytest.approx(taken_ps / PS_PER_S)


def test_cooldown_of_additions() -> None:
    cluster = scaled(lambda view: view.coming + 1, hill_rows(), scale_out_cooldown_s=17.0)
    adds = [event.time_ps // PS_PER_S for event in cluster.log if event.kind == "add"]
    assert adds == [5, 25, 45, 65, 85], "at the first tick 17 s after the one before, up to max_instances"


def test_a_starting_instance_goes_first() -> None:
    wanted = {5.0: 4, 10.0: 2}
    cluster = scaled(lambda view: wanted.get(view.time_s, 2), hill_rows(), cold_start_s=60.0, scale_in_cooldown_s=5.0)
    assert [(event.time_ps // PS_PER_S, event.kind, event.instance) for event in cluster.log[:7]] == [
        *((5, "add", i) for i in (1, 2, 3)),
        *((10, "drain", i) for i in (3, 2)),
        *((10, "stop", i) for i in (2, 3)),
    ]


def test_what_the_view_says() -> None:
    """One instance with 4 seats, steps of 0.1 s; 10 requests of 50 output tokens come at 1 s."""
    views: list[FleetView] = []

    def watch(view: FleetView) -> int:
        views.append(view)
        return 1

    rows = [Row(PS_PER_S, 4, 50) for _ in range(10)]
    scaled(watch, rows, interval_s=2.0, ttft_s=0.5, tpot_s=0.2, window_s=4.0, attainment=0.5)
    first = views[0]
    assert (first.time_s, first.ready, first.starting, first.draining) == (2.0, 1, 0, 0)
    assert (first.running_per_instance, first.waiting_per_instance) == (4.0, 6.0)
    assert first.busy_fraction == pytest.approx(0.5)
    assert first.arrivals_per_s == 10 / 2, "over the time since the start, while that is less than the window"
    assert first.attainment == pytest.approx(0.4), "4 first tokens in time, and 6 wait longer than that already"
    assert first.pressure == pytest.approx(1.0 / 0.5), "the median has waited a second"
    assert first.kv_used_fraction == pytest.approx(4 * math.ceil((4 + 9) / 4) / 199, abs=0.03)
    third = views[2]
    assert (third.time_s, third.arrivals_per_s) == (6.0, 0.0), "their arrival has left the window"
    assert third.busy_fraction == pytest.approx(1.0)


VIEW = FleetView(
    time_s=600.0,
    ready=4,
    starting=0,
    draining=0,
    cold_start_s=90.0,
    interval_s=15.0,
    window_s=60.0,
    waiting_per_instance=0.0,
    running_per_instance=16.0,
    busy_fraction=0.6,
    kv_used_fraction=0.35,
    arrivals_per_s=8.0,
    attainment=1.0,
    pressure=0.3,
)


@pytest.mark.parametrize(
    ("policy", "options", "seen", "wanted"),
    [
        ("queue", {"target_requests": 16.0}, {}, 4),
        ("queue", {"target_requests": 15.0}, {}, 4),  # within the tolerance
        ("queue", {"target_requests": 8.0}, {}, 8),
        ("queue", {"target_requests": 8.0}, {"starting": 4}, 8),
        ("queue", {"target_requests": 16.0}, {"waiting_per_instance": 8.0}, 6),
        ("utilisation", {"target_busy_fraction": 0.6}, {}, 4),
        ("utilisation", {"target_busy_fraction": 0.3}, {}, 8),
        ("utilisation", {}, {"kv_used_fraction": 0.7 * 1.5}, 6),
    ],
)
def test_proportional_policies(policy: str, options: dict[str, Any], seen: dict[str, Any], wanted: int) -> None:
    assert find_autoscaler(policy, options).desired(VIEW._replace(**seen)) == wanted


def test_the_slo_policy_learns_what_an_instance_carries() -> None:
    policy = find_autoscaler("slo", {"growth": 0.1, "backoff": 0.2})
    assert policy.desired(VIEW) == 4, "2 requests/s an instance, proved"
    later = [VIEW._replace(time_s=600.0 + 15.0 * tick) for tick in range(1, 8)]
    wanted = [policy.desired(view) for view in later[:5]]
    assert wanted[-1] == math.ceil(8.0 / (2.0 * 1.1**6)), "there is room, so it can carry more"
    assert policy.desired(later[5]._replace(pressure=1.5)) == 5, "a miss asks for one more at once"
    rising = find_autoscaler("slo", {})
    for tick in range(10):
        wanted = rising.desired(VIEW._replace(time_s=15.0 * tick, arrivals_per_s=8.0 + tick, pressure=0.9))
    assert wanted == math.ceil((17.0 + 105.0 / 15.0) / (17.0 / 4)), "the rate at which a new one will be ready"


def test_names_and_options() -> None:
    assert set(autoscaler_descriptions()) == {"queue", "utilisation", "slo"}
    with pytest.raises(SimError, match=r"^autoscaler.policy: 'que' is unknown; did you mean queue\? known: queue, slo"):
        find_autoscaler("que", {})
    with pytest.raises(
        SimError, match=r"^autoscaler.options.target_request: unknown key; did you mean 'target_requests'"
    ):
        find_autoscaler("queue", {"target_request": 3})


def fields(**autoscaler: Any) -> dict[str, Any]:
    return {
        "workload": {"builtin": "chatbot", "options": {"requests": 300, "rate_per_s": 20.0, "between_s": 5.0}},
        "autoscaler": {"max_instances": 4, "interval_s": 2.0, "cold_start_s": 3.0, **autoscaler},
        "series_interval_s": 1.0,
    }


@pytest.mark.parametrize(
    ("autoscaler", "message"),
    [
        ({"min_instances": 5}, r"^scenario: autoscaler: `min_instances` 5 is above `max_instances` 4$"),
        ({"max_instance": 5}, r"^scenario: autoscaler.max_instance: unknown key; did you mean 'max_instances'"),
        ({"interval_s": 0.0}, r"^scenario: autoscaler.interval_s: .*greater than or equal to 0.1, found 0.0$"),
        ({}, r"^autoscaler.ttft_s: policy 'slo' needs a target; give ttft_s, tpot_s or both$"),
        ({"min_instances": 2, "policy": "queue"}, r"^instances: 1 is not within autoscaler.min_instances 2 and"),
    ],
)
def test_bad_scenarios(autoscaler: dict[str, Any], message: str) -> None:
    with pytest.raises(SimError, match=message) as error:
        simulate(make_scenario(fields(**autoscaler)))
    assert "\n" not in str(error.value)


def test_a_policy_in_python() -> None:
    """The example of docs/autoscaling.md."""

    def by_the_clock(view: FleetView) -> int:
        return 3 if 5 <= view.time_s < 15 else 1

    result = simulate(make_scenario(fields(scale_in_cooldown_s=2.0)), autoscaler=by_the_clock)
    assert result.summary["given_in_python"]["autoscaler"].endswith("by_the_clock")
    adds = result.control[result.control["kind"] == "add"]
    assert adds["time_s"].tolist() == [6.0, 6.0] and adds["wait_s"].tolist() == [3.0, 3.0]
    assert adds["reason"].tolist() == ["by_the_clock: 3 wanted"] * 2
    status = result.series[result.series["instance"] == 1].set_index("time_s")["status"]
    assert [status[at] for at in (5.0, 8.0, 10.0)] == ["absent", "starting", "ready"]
    with pytest.raises(SimError, match=r"^the autoscaler <lambda> wants 2.5 instances at 2 s; return an integer$"):
        simulate(make_scenario(fields()), autoscaler=lambda view: 2.5)  # type: ignore[arg-type, return-value]
    without = {name: value for name, value in fields().items() if name != "autoscaler"}
    with pytest.raises(SimError, match=r"^autoscaler: the scenario has none; give it at least `max_instances`$"):
        simulate(make_scenario(without), autoscaler=by_the_clock)


def test_same_scenario_same_bytes() -> None:
    scenario = make_scenario(fields(policy="slo", ttft_s=0.5, tpot_s=0.05))
    first, second = simulate(scenario), simulate(scenario)
    assert first.summary == second.summary
    assert first.requests.equals(second.requests) and first.control.equals(second.control)
