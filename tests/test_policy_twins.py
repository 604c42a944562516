"""Compiled policies choose what their plain-Python twins hold for best, in random states."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_twins import TWINS, S, Sent, State
from router_states import INDICATORS, Choice

from sim.kernel.routing import ROUTERS

# Values at which an option matters in states this small; the others: the default, half of it, and one more.
VALUES: dict[str, tuple[float, ...]] = {
    "temperature": (0,),
    "noise": (0,),
    "balance_abs": (64, 3),
    "threshold_tokens": (2000, 50, 20),
    "chunk_tokens": (32, 7, 1),
    "request_tokens": (250, 22412, 0, 3),
    "bucket_tokens": (1000, 150),
    "most_requests": (100, 4),
    "ttft_slo_s": (2, 2e-9, 5e-10),
    "tpot_slo_s": (0.05, 2e-10, 1.3e-10),
    "window_s": (180, 60, 1),
}
IN_TURN_OR_AT_RANDOM = {"random", "round-robin", "power-of-two"}  # random, and see oracle/routers.py for all three


@st.composite
def states(draw: st.DrawFn, name: str) -> State:
    instances = draw(st.integers(1, 5))
    accepting = sorted(draw(st.sets(st.integers(0, instances - 1), min_size=1)))

    def each(*values: int) -> list[int]:
        return [draw(st.sampled_from(values)) for _ in range(instances)]

    options = {}
    for option, spec in ROUTERS[name].options.items():
        usual = (spec.default, max(spec.low, spec.default / 2), min(spec.high, spec.default + 1))
        options[option] = draw(st.sampled_from(VALUES.get(option, usual)))
    return State(
        accepting=accepting,
        waiting=each(0, 0, 1, 3, 9, 200),
        running=each(0, 1, 2, 5, 9, 70),
        queued_prefill=each(0, 0, 1, 64, 150),
        decode_kv=each(0, 5, 100, 400),
        blank=each(0, 700, 999, 1000),
        hits=draw(st.sampled_from([[0] * instances, each(0, 20, 50, 60, 90)])),
        without_hit=each(0, 3, 7, 11),
        home=draw(st.sampled_from([-1, *range(instances)])),
        session=draw(st.sampled_from([-1, 0])),
        client=0,
        clock=400 * S,
        log=[draw(log_entries(instances)) for _ in range(draw(st.integers(0, 6)))],
        options=options,
    )


@st.composite
def log_entries(draw: st.DrawFn, instances: int) -> Sent:
    at = draw(st.sampled_from([0, 219 * S, 220 * S, 339 * S, 350 * S, 399 * S]))
    times = sorted(draw(st.lists(st.sampled_from([0, 1, 2, 4]), min_size=3, max_size=3)))
    scheduled, first_token, finish = (at + seconds * S // 8 for seconds in times)
    return Sent(
        at=at,
        instance=draw(st.integers(0, instances - 1)),
        new_tokens=draw(st.sampled_from([0, 1, 40, 100])),
        client=draw(st.sampled_from([0, 1])),
        input=draw(st.sampled_from([1, 30, 100])),
        output=draw(st.sampled_from([1, 5, 80])),
        scheduled=scheduled,
        first_token=first_token,
        finish=draw(st.sampled_from([finish, -1])),
    )


def compiled(name: str, state: State, seed: int) -> int:
    """What the compiled policy chooses in the state, of which the log is brought about entry by entry."""
    sent = sorted(state.log, key=lambda entry: entry.at)
    choice = Choice(
        name,
        state.options,
        instances=len(state.waiting),
        seed=seed,
        session=[state.session] * (len(sent) + 1),
        client=[state.client, *(entry.client for entry in sent)],
        requests=len(sent) + 1,
    )
    choice.accept(state.accepting)
    choice.see(state.hits, **{indicator: getattr(state, indicator) for indicator in INDICATORS})
    for request, entry in enumerate(sent, 1):
        choice.sim.cluster["clock"] = entry.at
        choice.sim.req[request]["input"] = entry.input
        choice.ended(request, entry.output, entry.scheduled, entry.first_token, entry.finish)
        if ROUTERS[name].keeps_log:
            choice.sent(request, entry.instance, entry.new_tokens)
    choice.sim.cluster["clock"] = state.clock
    choice.sim.recent["without_hit"] = state.without_hit
    choice.sim.home[:] = state.home
    return choice.of(0)


@pytest.mark.parametrize("name", TWINS)
@given(data=st.data(), seed=st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_the_compiled_policy_chooses_a_best_one(name: str, data: Any, seed: int) -> None:
    state = data.draw(states(name))
    scores = TWINS[name](state)
    lowest = min(scores.values())
    best = {i for i, score in scores.items() if score <= lowest + 1e-9 * abs(lowest)}
    assert compiled(name, state, seed) in best


def test_every_policy_has_a_twin() -> None:
    assert TWINS.keys() | IN_TURN_OR_AT_RANDOM == ROUTERS.keys()
