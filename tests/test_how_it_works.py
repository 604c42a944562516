"""The numbers of docs/how-it-works.md are those that the simulator gives."""

from pathlib import Path

import numpy as np
import pytest
from oracle import Engine, Group, Row
from oracle import run as run_oracle

from docs.draw.worked_example import ENGINE, NAMES, PS_PER_MS, REQUESTS, SEGMENTS, STEPS, Jump, run, state_at
from sim.kernel.decode import growth
from sim.kernel.prefix import grow_forest
from sim.kernel.state import NONE, Sim

PAGE = (Path(__file__).parents[1] / "docs/how-it-works.md").read_text()


@pytest.fixture(scope="module")
def example() -> tuple[Sim, list[Jump]]:
    return run()


def assert_row(*cells: object) -> None:
    """The page has a table with this row."""
    row = "| " + " | ".join(map(str, cells)) + " |"
    assert row.replace("|  |", "| |") in PAGE


def test_requests_and_their_outcomes(example: tuple[Sim, list[Jump]]) -> None:
    sim, _ = example
    for r, name in enumerate(NAMES):
        other, shared = REQUESTS.prefix_request[r], REQUESTS.prefix_tokens[r]
        shares = f"{shared} tokens with {NAMES[other]}" if shared else ""
        arrival_ms = REQUESTS.arrival_ps[r] // PS_PER_MS
        assert_row(name, arrival_ms, REQUESTS.input_tokens[r], REQUESTS.output_tokens[r], shares)
        req = sim.req[r]
        assert_row(name, req["hit"], req["first_token"] / PS_PER_MS, req["finish"] / PS_PER_MS)


def test_jumps(example: tuple[Sim, list[Jump]]) -> None:
    _, jumps = example
    for jump in jumps:
        first, last = jump.first_iteration, jump.first_iteration + jump.iterations - 1
        longer = jump.slope_ms if jump.planned > 1 else ""
        assert_row(
            *(str(first) if first == last else f"{first}-{last}", jump.prefilling, jump.decoding),
            *(f"{jump.start_ms:.1f}", jump.step_ms, longer, jump.planned, jump.iterations),
            f"{jump.boundary_ms(jump.iterations):.1f}",
        )
    cut = jumps[1]
    assert [round(cut.boundary_ms(k), 1) for k in (3, 4, 8)] == [66.3, 79.8, 135.8]
    iterations = sum(jump.iterations for jump in jumps)
    assert (iterations, len(jumps)) == (12, 6)
    assert "12 iterations in 6 jumps" in PAGE


def test_residue_classes(example: tuple[Sim, list[Jump]]) -> None:
    sim, jumps = example
    assert sim.req["anchor"].tolist() == [9, 16, 10]
    assert jumps[3].residue == (1, 1, 1, 0)
    assert growth(state_at(jumps[3].start_ms), 0, 6, 3) == 3


def test_an_arrival_brings_the_blocks_up_to_date() -> None:
    assert [state_at(time_ms).inst["blank"][0] for time_ms in (69, 70)] == [10, 8]


def test_forest() -> None:
    sim = state_at(0)
    parent, end = grow_forest(
        REQUESTS.input_tokens, REQUESTS.output_tokens, REQUESTS.prefix_request, REQUESTS.prefix_tokens
    )
    for x, name in enumerate(SEGMENTS):
        start = 0 if parent[x] == NONE else end[parent[x]]
        blocks = range(sim.seg["first_block"][x], sim.seg["end_block"][x])
        assert_row(name, f"{start}-{end[x] - 1}", ", ".join(map(str, blocks)))


def test_slots_at_150_ms() -> None:
    sim = state_at(150)
    slots = sim.slot[sim.slot["resident"] > 0]
    assert len(slots) == 3
    for slot in slots:
        assert_row(SEGMENTS[slot["segment"]], slot["resident"], slot["in_use"])


def test_blocks_at_the_end(example: tuple[Sim, list[Jump]]) -> None:
    sim, _ = example
    inst, cluster = sim.inst[0], sim.cluster[0]
    assert (inst["idle"], cluster["used_pieces"], inst["blank"]) == (11, 5, 5)
    assert "11 idle blocks in 5 pieces, and 5 blank ones" in PAGE


def test_the_oracle_agrees(example: tuple[Sim, list[Jump]]) -> None:
    sim, _ = example
    rows = [Row(*map(int, row)) for row in zip(*REQUESTS, strict=True)]
    outcomes = run_oracle(rows, [Group(Engine(**ENGINE._asdict()), STEPS, 1)], "round-robin")
    assert [outcome.hit_tokens for outcome in outcomes] == sim.req["hit"].tolist()
    assert [outcome.first_token_ps for outcome in outcomes] == sim.req["first_token"].tolist()
    assert [outcome.finish_ps for outcome in outcomes] == sim.req["finish"].tolist()
    assert np.all(sim.req["preemptions"] == 0)
