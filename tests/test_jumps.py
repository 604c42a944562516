"""What the instances did: the log of their jumps and the mix of their iterations, beside the oracle's steps."""

from collections import Counter
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from harness import examples, flat_steps, make_cluster, run_kernel
from hypothesis import given
from hypothesis import strategies as st
from oracle import Engine, Group, Row
from oracle import cluster as oracle_cluster
from oracle.instance import Step
from oracle.scenarios import Scenario, scenarios

import sim.cluster
from sim.cluster import Cluster
from sim.errors import SimError
from sim.kernel.state import NEVER

KINDS = ("prefill_only", "mixed", "decode_only")


def oracle_steps(scenario: Scenario) -> list[list[Step]]:
    """The steps that ended, by instance; also of those that are added after the last finish."""
    cluster = oracle_cluster.Cluster(**vars(scenario), check=False)
    cluster.run()
    return [instance.steps for instance in cluster.instances]


def kind(step: Step) -> str:
    if step.prefill_requests == 0:
        return "decode_only"
    return "mixed" if step.decode_requests else "prefill_only"


def run_with_jumps(scenario: Scenario, jumps_ps: tuple[int, int] = (0, NEVER)) -> Cluster:
    run = Cluster.run
    with mock.patch.object(Cluster, "run", lambda self, operations: run(self, operations, jumps_ps=jumps_ps)):
        return run_kernel(scenario)


@examples(200)
@given(scenarios())
def test_iterations_and_their_tokens_agree(scenario: Scenario) -> None:
    state = run_kernel(scenario).state
    for inst, steps in zip(state.inst, oracle_steps(scenario), strict=False):
        kinds = Counter(map(kind, steps))
        assert {name: inst[name] for name in KINDS} == {name: kinds[name] for name in KINDS}
        assert inst["prefill_tokens"] == sum(step.prefill_tokens for step in steps)
        assert inst["decode_tokens"] == sum(step.decode_requests for step in steps)


@examples(200)
@given(scenarios())
def test_jumps_are_the_oracles_steps(scenario: Scenario) -> None:
    """A jump of k iterations is k steps of the oracle, with its requests and tokens, from its start to its end."""
    cluster = run_with_jumps(scenario)
    for i, steps in enumerate(oracle_steps(scenario)[: len(cluster.status)]):
        jumps, done = cluster.jumps[cluster.jumps["instance"] == i], 0
        assert (jumps["start"][1:] >= jumps["end"][:-1]).all(), "one after another"
        for jump in jumps:
            part = steps[done : done + jump["iterations"]]
            done += len(part)
            for step in part:
                assert (jump["decodes"], jump["chunks"], jump["prefill_tokens"]) == (
                    step.decode_requests,
                    step.prefill_requests,
                    step.prefill_tokens,
                )
            if part:
                assert jump["start"] == part[0].start_ps
                assert jump["end"] >= part[-1].end_ps if jump["failed"] else jump["end"] == part[-1].end_ps
        assert done == len(steps)
        assert (jumps["end"] - jumps["start"]).sum() == cluster.state.inst["busy_ps"][i]


@examples(60)
@given(scenarios(), st.integers(0, 3000), st.integers(1, 3000))
def test_a_window_keeps_the_jumps_that_overlap_it(scenario: Scenario, start_ps: int, length_ps: int) -> None:
    whole = run_with_jumps(scenario).jumps
    overlapping = whole[(whole["end"] > start_ps) & (whole["start"] < start_ps + length_ps)]
    assert np.array_equal(run_with_jumps(scenario, (start_ps, start_ps + length_ps)).jumps, overlapping)


@examples(100)
@given(scenarios(), st.integers(1, 300))
def test_samples_count_the_iterations_that_ended_before(scenario: Scenario, interval_ps: int) -> None:
    """In the middle of a jump too."""
    scenario = replace(scenario, operations=[])
    cluster = make_cluster(scenario)
    interval_ps += int(run_kernel(scenario).state.cluster["clock"][0]) // 200
    cluster.run(sample_interval_ps=interval_ps)
    samples = cluster.samples()
    for i, steps in enumerate(oracle_steps(scenario)):
        for at, time_ps in enumerate(samples.time_ps):
            ended = [step for step in steps if step.end_ps < time_ps]
            kinds = Counter(map(kind, ended))
            assert {name: getattr(samples, name)[at, i] for name in KINDS} == {name: kinds[name] for name in KINDS}
            assert samples.prefill_tokens[at, i] == sum(step.prefill_tokens for step in ended)
            assert samples.decode_tokens[at, i] == sum(step.decode_requests for step in ended)


ONE_INSTANCE = [Group(Engine(20, 4), flat_steps(10, 8192), 1)]
THREE_REQUESTS = Scenario([Row(5 * r, 3, 4) for r in range(3)], ONE_INSTANCE, "random", 0, [])


def test_no_jump_is_noted_unless_asked_for() -> None:
    assert len(run_kernel(THREE_REQUESTS).jumps) == 0


def test_too_many_jumps_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.cluster, "MOST_JUMPS", 2)
    with pytest.raises(SimError, match=r"^trace window: instances made more than 2 steps .* use a shorter one$"):
        make_cluster(THREE_REQUESTS).run(jumps_ps=(0, NEVER))
