"""Sampling and progress of a run."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from harness import assert_same, examples, make_cluster, outcomes, run_kernel
from hypothesis import given
from hypothesis import strategies as st
from oracle import Row
from oracle.scenarios import Scenario, scenarios
from small_clusters import cluster_of

import sim.cluster
from sim.cluster import Progress
from sim.operations import Operation


@examples(100)
@given(scenarios(), st.integers(1, 5000))
def test_sampling_changes_nothing(scenario: Scenario, interval_ps: int) -> None:
    scenario = replace(scenario, operations=[])
    sampled = make_cluster(scenario)
    plain = run_kernel(scenario)
    # So that there are some samples and not too many, whatever the scenario's unit of time.
    interval_ps += int(plain.state.cluster["clock"][0]) // 200
    sampled.run(sample_interval_ps=interval_ps)
    assert_same(outcomes(sampled), outcomes(plain))
    assert sampled.state.itl_counts.tobytes() == plain.state.itl_counts.tobytes()

    samples, req = sampled.samples(), sampled.state.req
    times_ps = samples.time_ps
    assert np.array_equal(times_ps, interval_ps * np.arange(1, len(times_ps) + 1))
    # A sample shows the state just before its instant.
    served = req["finish"] >= 0  # not refused
    arrived = (served & (req["arrival"] < times_ps[:, None])).sum(axis=1)
    left = (served & (req["finish"] < times_ps[:, None])).sum(axis=1)
    assert np.array_equal((samples.running + samples.waiting).sum(axis=1), arrived - left)
    for counter in (samples.hit_tokens, samples.prompt_tokens, samples.busy_ps):
        assert (np.diff(counter, axis=0) >= 0).all()
    assert (samples.busy_ps <= times_ps[:, None]).all()
    begun = served & (req["first_scheduled"] < times_ps[:, None])
    assert np.array_equal(samples.prompt_tokens.sum(axis=1), (begun * req["input"]).sum(axis=1))
    assert np.array_equal(samples.hit_tokens.sum(axis=1), (begun * req["hit"]).sum(axis=1))
    assert (samples.blocks_used <= sampled.state.inst["usable"]).all()
    assert ((samples.running > 0) == (samples.blocks_used > 0)).all()


def test_samples_by_hand() -> None:
    """Request 0 comes to instance 0 at 5 ps, request 1 to the added instance at 15 ps; each takes two steps."""
    cluster = cluster_of([Row(5, 4, 2), Row(15, 6, 2)])
    cluster.run([Operation(7, "add")], sample_interval_ps=10)
    samples = cluster.samples()
    assert samples.time_ps.tolist() == [10, 20, 30]
    assert samples.running.tolist() == [[1, 0], [1, 1], [0, 1]]
    assert samples.waiting.tolist() == [[0, 0], [0, 0], [0, 0]]
    assert samples.blocks_used.tolist() == [[2, 0], [3, 3], [0, 4]]
    assert samples.prompt_tokens.tolist() == [[4, 0], [4, 6], [4, 6]]
    assert samples.hit_tokens.tolist() == [[0, 0], [0, 0], [0, 0]]
    assert samples.busy_ps.tolist() == [[5, 0], [15, 5], [20, 15]]


def test_progress_is_told_and_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim.cluster, "EVENTS_PER_PROGRESS", 50)
    told: list[Progress] = []
    cluster = cluster_of([Row(7 * r, 3, 1 + r % 5) for r in range(300)], instances=2)
    cluster.run(progress=told.append)
    assert len(told) >= cluster.state.cluster["events"][0] // 100
    assert told[-1].finished_requests == told[-1].requests == 300
    assert told[-1].events == cluster.state.cluster["events"][0]
    for earlier, later in pairwise(told):
        assert all(a <= b for a, b in zip(earlier, later, strict=True))


def test_progress_comes_with_samples_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.cluster.EVENTS_PER_PROGRESS", 10)
    seen = []
    cluster = cluster_of([Row(50 * k, 3, 3) for k in range(20)])
    cluster.run(sample_interval_ps=20, progress=seen.append)
    assert len(seen) >= int(cluster.state.cluster["events"][0]) // 10
