"""Failures: their statistics, what they cost, and that no request is lost or answered twice."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from harness import after_every_event, flat_steps, kernel_requests, outcomes
from oracle import Engine as OracleEngine
from oracle import Group as OracleGroup
from oracle import Operation as OracleOperation
from oracle import Row
from oracle import run as run_oracle
from scipy import stats

from sim import SimError, make_scenario, simulate
from sim.cluster import Cluster
from sim.faults import INSTANCE_STREAM, NODE_STREAM, Faults, unit_stream
from sim.kernel.build import Engine, Group
from sim.kernel.state import DONE, Sim
from sim.kernel.steptime import StepTable
from sim.operations import KINDS, PS_PER_S, Operation
from sim.scenario import FaultOptions

STEP_PS = PS_PER_S // 10
ENGINE = {"num_blocks": 200, "block_size": 4, "max_num_seqs": 4, "max_num_batched_tokens": 64}
HOURLY: dict[str, Any] = {
    "instance_mtbf_s": 3600.0,
    "instance_mttr_s": 600.0,
    "restart_s": 60.0,
    "detection_s": 30.0,
}


def steady_rows(hours: float, per_s: float, seed: int = 0) -> list[Row]:
    rng = np.random.default_rng(seed)
    at_s = np.cumsum(rng.exponential(1 / per_s, int(hours * 3600 * per_s)))
    return [
        Row(round(float(at) * PS_PER_S), int(rng.integers(1, 40)), int(rng.integers(1, 80)), priority=0) for at in at_s
    ]


def failing(rows: list[Row], instances: int, seed: int = 0, **options: Any) -> tuple[Cluster, Faults]:
    """A cluster whose instances fail, not yet run."""
    steps = StepTable(**vars(flat_steps(STEP_PS)))
    cluster = Cluster(kernel_requests(rows), [Group(Engine(**ENGINE), steps, instances)], "least-requests")
    return cluster, Faults(cluster, FaultOptions(**options), seed)


def test_no_request_is_lost_or_answered_twice() -> None:
    """Five hours, an MTBF of an hour per instance: a log of its own, event by event, sees every request finish once."""
    rows = steady_rows(5.0, 0.25)
    cluster, faults = failing(rows, 4, **HOURLY)
    done = np.zeros(len(rows), np.int64)
    answered = np.zeros(len(rows), np.int64)
    before = np.zeros(len(rows), bool)

    def look(state: Sim) -> None:
        now = state.req["state"] == DONE
        assert (now | ~before).all(), "who has finished stays so"
        new = now & ~before
        done[new] += 1
        answered[new] += state.req["generated"][new]
        before[:] = now

    with after_every_event(look):
        cluster.run()
    assert len(faults.outages) > 10
    assert faults.retries.sum() > 10
    assert (done == 1).all()
    assert answered.tolist() == [row.output_tokens for row in rows]
    req = cluster.state.req
    gaps = cluster.state.itl_counts.sum() - (req["output"] - 1).sum()
    assert gaps >= 0, "attempts that failed have gaps too"
    lost = sum(outage.output_tokens for outage in faults.outages)
    assert cluster.state.inst["tokens"].sum() == req["output"].sum() + lost, "generated = answered + thrown away"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("detection_s", [0.0, 30.0])
def test_the_oracle_sees_the_same(seed: int, detection_s: float) -> None:
    """The log of a run with failures of instances and nodes, given to the oracle as operations."""
    rows = steady_rows(0.5, 0.5, seed)
    options = HOURLY | {"instance_mtbf_s": 300.0, "node_mtbf_s": 900.0, "instances_per_node": 2}
    cluster, faults = failing(rows, 4, seed, **options | {"detection_s": detection_s, "retry_backoff_s": 2.5})
    cluster.run()
    assert len(faults.outages) > 5
    operations = [
        OracleOperation(event.time_ps, event.kind, event.instance, backoff_ps=event.wait_ps)
        for event in cluster.log
        if event.kind in KINDS
    ]
    group = OracleGroup(OracleEngine(**ENGINE), flat_steps(STEP_PS), 4)
    expected = run_oracle(rows, [group], "least-requests", operations=operations, check=False)
    assert outcomes(cluster) == expected


def test_a_hanging_instance_goes_on_taking_requests_until_it_is_found_out() -> None:
    """Instance 0 hangs at 1 s, is found out at 5 s; request 2 is sent to it in between, and starts anew at 6 s."""
    rows = [Row(0, 4, 30), Row(0, 4, 200), Row(2 * PS_PER_S, 4, 10)]
    steps = StepTable(**vars(flat_steps(STEP_PS)))
    cluster = Cluster(kernel_requests(rows), [Group(Engine(**ENGINE), steps, 2)], "round-robin")
    cluster.run(
        [Operation(PS_PER_S + 1, "freeze", 0), Operation(5 * PS_PER_S, "fail", 0, backoff_ps=PS_PER_S)],
        sample_interval_ps=PS_PER_S,
    )
    req = cluster.state.req
    assert req["instance"].tolist() == [1, 1, 1]
    assert (req["first_scheduled"][[0, 2]] >= 6 * PS_PER_S).all() and req["arrival"].tolist() == [0, 0, 2 * PS_PER_S]
    samples = cluster.samples()
    assert samples.running[:5, 0].tolist() == [1, 1, 1, 1, 0] and samples.waiting[:5, 0].tolist() == [0, 0, 1, 1, 0]
    assert cluster.state.inst["busy_ps"][0] == PS_PER_S + 1, "it is not busy while it hangs"
    assert cluster.state.inst["tokens"][0] == 10


def test_requests_on_an_instance_that_hangs_for_ever_are_an_error() -> None:
    cluster, _ = failing([Row(0, 4, 30)], 1, instance_mtbf_s=1e6)
    group = Group(Engine(**ENGINE), StepTable(**vars(flat_steps(STEP_PS))), 1)
    plain = Cluster(kernel_requests([Row(0, 4, 30)]), [group], "round-robin")
    with pytest.raises(SimError, match=r"^operations: 1 requests can never be served: instance 0 hangs; fail and rep"):
        plain.run([Operation(PS_PER_S, "freeze", 0)])
    cluster.run()


def test_times_are_exponential_and_each_instance_has_its_own() -> None:
    rows = [Row(round(120 * 3600 * PS_PER_S), 4, 4)]  # a long wait for one request, so that only failures happen
    options = HOURLY | {"transient_share": 0.5}
    runs = {}
    for instances in (8, 9):
        cluster, faults = failing(rows, instances, 3, **options)
        cluster.run()
        runs[instances] = faults.outages
    fewer = [outage for outage in runs[9] if outage.instance < 8]
    assert fewer == runs[8], "another instance changes nothing for the others"
    up_s, hard_s = [], []
    for i in range(9):
        mine = [outage for outage in runs[9] if outage.instance == i and outage.repaired_ps >= 0]
        up_s += [(later.failed_ps - earlier.repaired_ps) / PS_PER_S for earlier, later in pairwise(mine)]
        hard_s += [(outage.repaired_ps - outage.detected_ps) / PS_PER_S for outage in mine if not outage.transient]
        assert {outage.repaired_ps - outage.detected_ps for outage in mine if outage.transient} == {60 * PS_PER_S}
        assert {outage.detected_ps - outage.failed_ps for outage in mine} == {30 * PS_PER_S}
    assert len(up_s) > 700
    assert stats.kstest(up_s, stats.expon(scale=3600.0).cdf).pvalue > 1e-3
    assert stats.kstest(hard_s, stats.expon(scale=600.0).cdf).pvalue > 1e-3
    share = np.mean([outage.transient for outage in runs[9]])
    assert abs(share - 0.5) < 4 * 0.5 / len(runs[9]) ** 0.5


def test_streams_differ() -> None:
    draws = {unit_stream(0, kind, unit).random() for kind in (INSTANCE_STREAM, NODE_STREAM) for unit in range(10)}
    assert len(draws) == 20


def test_a_node_takes_its_instances_down_together() -> None:
    rows = [Row(round(20 * 3600 * PS_PER_S), 4, 4)]
    cluster, faults = failing(rows, 5, 1, node_mtbf_s=3600.0, instances_per_node=2, detection_s=10.0)
    cluster.run()
    together: dict[int, list[int]] = {}
    for outage in faults.outages:
        assert outage.with_node
        together.setdefault(outage.failed_ps, []).append(outage.instance)
    assert {tuple(members) for members in together.values()} == {(0, 1), (2, 3), (4,)}
    repaired = {(outage.instance, outage.repaired_ps) for outage in faults.outages}
    assert all((i + 1, at) in repaired for i, at in repaired if i in (0, 2))


def test_a_second_failure_during_an_outage_makes_it_longer() -> None:
    rows = [Row(round(100 * 3600 * PS_PER_S), 4, 4)]
    often = {"instance_mtbf_s": 1000.0, "node_mtbf_s": 1000.0, "instances_per_node": 1}
    cluster, faults = failing(rows, 1, 0, **often, detection_s=100.0, restart_s=500.0, transient_share=1.0)
    cluster.run()
    done = [outage for outage in faults.outages if outage.repaired_ps >= 0]
    for earlier, later in pairwise(done):
        assert earlier.repaired_ps <= later.failed_ps, "one outage at a time"
    lengths_s = [(outage.repaired_ps - outage.failed_ps) / PS_PER_S for outage in done]
    assert min(lengths_s) == 600.0 and max(lengths_s) > 600.0


def fields(**faults: Any) -> dict[str, Any]:
    return {
        "workload": {"builtin": "chatbot", "options": {"requests": 400, "rate_per_s": 4.0, "between_s": 20.0}},
        "instances": 3,
        "faults": faults,
    }


def test_the_summary_tells_what_failures_cost() -> None:
    scenario = make_scenario(fields(instance_mtbf_s=60.0, detection_s=5.0, restart_s=20.0, instance_mttr_s=40.0))
    result = simulate(scenario)
    faults, table = result.summary["faults"], result.requests
    assert faults["outages"] == (result.control["kind"] == "freeze").sum() > 3
    assert faults["requests_retried"] > 0 and faults["retries_max"] >= 1
    assert faults["lost_output_tokens"] > 0 and faults["lost_prompt_tokens"] > 0
    assert 0 < faults["lost_iterations"] <= faults["outages"]
    gpu_s = faults["detection_instance_s"] + faults["repair_instance_s"]
    assert faults["lost_gpu_hours"] == pytest.approx(gpu_s / 3600)
    assert (table["finish_s"] > table["arrival_s"]).all()
    assert simulate(scenario).summary == result.summary
    assert simulate(make_scenario({**fields(), "faults": None})).summary["faults"] is None


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ({}, r"^scenario: faults: nothing ever fails; give `instance_mtbf_s` or `node_mtbf_s`, or leave"),
        ({"instance_mtbf": 3.0}, r"^scenario: faults.instance_mtbf: unknown key; did you mean 'instance_mtbf_s'"),
        ({"instance_mtbf_s": -1.0}, r"^scenario: faults.instance_mtbf_s: .*greater than 0, found -1.0$"),
        ({"node_mtbf_s": 9.0, "transient_share": 2.0}, r"^scenario: faults.transient_share: .* found 2.0$"),
    ],
)
def test_bad_options(faults: dict[str, Any], message: str) -> None:
    with pytest.raises(SimError, match=message):
        make_scenario(fields(**faults))
