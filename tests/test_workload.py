"""The Workload type: validation, transformations, Parquet."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads import Workload, WorkloadError, generate

NAN = float("nan")


def three_turns(**changes: Any) -> Workload:
    """A root, its follow-up, and another root that shares 4 tokens with the first."""
    columns: dict[str, Any] = {
        "arrival_s": [0.0, NAN, 2.0],
        "input_tokens": [10, 20, 8],
        "output_tokens": [5, 5, 5],
        "session": [0, 0, 1],
        "turn": [0, 1, 0],
        "parent": [-1, 0, -1],
        "think_s": [0.0, 3.0, 0.0],
        "prefix_request": [-1, 0, 0],
        "prefix_tokens": [0, 15, 4],
    }
    return Workload.build(**{**columns, **changes})


def test_defaults_and_types():
    workload = Workload.build(arrival_s=[0, 1], input_tokens=[1, 2], output_tokens=[3, 4])
    assert len(workload) == 2
    assert workload.input_tokens.dtype == np.int32
    assert workload.session.dtype == np.int64
    assert workload.client.tolist() == [-1, -1]
    assert workload.category_names == ("default",)


def test_columns_are_read_only_copies():
    arrival_s = np.array([0.0, 1.0])
    workload = Workload.build(arrival_s=arrival_s, input_tokens=[1, 2], output_tokens=[3, 4])
    arrival_s[0] = 5.0
    assert workload.arrival_s[0] == 0.0
    with pytest.raises(ValueError, match="read-only"):
        workload.arrival_s[0] = 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_tokens": [10, 20, 0]}, "input_tokens, row 2: 0 is below 1"),
        ({"output_tokens": [5, -1, 5]}, "output_tokens, row 1: -1 is below 1"),
        ({"output_tokens": [5, 5]}, "output_tokens: has 2 rows, arrival_s has 3"),
        ({"input_tokens": [10.0, 20.0, 8.0]}, "input_tokens: holds float64, expected integers"),
        ({"input_tokens": [10, 2**31, 8]}, "input_tokens, row 1: 2147483648 does not fit int32"),
        ({"input_tokens": [[10, 20, 8]]}, "input_tokens: has 2 dimensions"),
        ({"arrival_s": [-1.0, NAN, 2.0]}, "arrival_s, row 0: -1.0 is not a finite time"),
        ({"arrival_s": [0.0, NAN, float("inf")]}, "arrival_s, row 2: inf is not a finite time"),
        ({"arrival_s": [0.0, NAN, NAN]}, "arrival_s, row 2: nan is no time; a request without a parent"),
        ({"arrival_s": [0.0, 1.0, 2.0]}, "arrival_s, row 1: 1.0 is a time, but a follow-up"),
        ({"arrival_s": ["a", "b", "c"]}, "arrival_s: holds <U1, expected numbers"),
        ({"parent": [-1, 1, -1]}, "parent, row 1: 1 is no earlier row"),
        ({"parent": [-1, -2, -1]}, "parent, row 1: -2 is no earlier row"),
        ({"think_s": [0.0, -3.0, 0.0]}, "think_s, row 1: -3.0 is not a finite time"),
        ({"think_s": [0.0, NAN, 0.0]}, "think_s, row 1: nan is not a finite time"),
        ({"think_s": [1.0, 3.0, 0.0]}, "think_s, row 0: 1.0 is given for a request without a parent"),
        ({"prefix_request": [-1, 2, 0]}, "prefix_request, row 1: 2 is no earlier row"),
        ({"prefix_tokens": [1, 15, 4]}, "prefix_tokens, row 0: 1 is given without a prefix_request"),
        ({"prefix_tokens": [0, 0, 4]}, "prefix_tokens, row 1: 0 is below 1"),
        ({"prefix_tokens": [0, 15, 9]}, "prefix_tokens, row 2: 9 is more than the prompt has"),
        ({"prefix_tokens": [0, 16, 4]}, "prefix_tokens, row 1: 16 is more than prefix_request has"),
        ({"client": [0, -2, 0]}, "client, row 1: -2 is below -1"),
        ({"session": [0, -2, 0]}, "session, row 1: -2 is below -1"),
        ({"turn": [0, -1, 0]}, "turn, row 1: -1 is below 0"),
        ({"category": [0, 1, 0]}, "category, row 1: 1 is no index of category_names"),
        ({"category_names": ("a", "a")}, "category_names: .* are not different strings"),
        ({"priorty": [0, 0, 0]}, "unknown column 'priorty'; did you mean 'priority'?"),
        ({"arrival_s": []}, "at least one request"),
    ],
)
def test_bad_columns_are_named_with_their_row(changes: dict[str, Any], message: str):
    with pytest.raises(WorkloadError, match=message) as caught:
        three_turns(**changes)
    assert "\n" not in str(caught.value)


def test_summary():
    summary = three_turns().summary()
    assert summary["requests"] == 3
    assert summary["roots"] == 2
    assert summary["sessions"] == 2
    assert summary["input_tokens"] == 38
    assert summary["span_s"] == 2.0
    assert summary["root_rate_per_s"] == 0.5
    assert summary["prefix_hit_ratio"] == 19 / 38


def test_scale():
    slower = three_turns().scale_time(2)
    assert slower.arrival_s[2] == 4.0
    assert slower.think_s[1] == 6.0
    denser = three_turns().scale_rate(2)
    assert denser.arrival_s[2] == 1.0
    assert denser.think_s[1] == 3.0
    with pytest.raises(WorkloadError, match="scale_rate: factor must be a positive number, got 0"):
        three_turns().scale_rate(0)


def test_slice_counts_from_its_start_and_brings_follow_ups():
    early = three_turns().slice(0, 1)
    assert early.turn.tolist() == [0, 1]
    late = three_turns().slice(1.5, 3)
    assert late.arrival_s.tolist() == [0.5]
    assert late.prefix_request.tolist() == [-1]
    with pytest.raises(WorkloadError, match=r"slice: no request arrives in \[3, 4\) s"):
        three_turns().slice(3, 4)


def test_take_drops_follow_ups_without_their_ancestors():
    chain = Workload.build(
        arrival_s=[0.0, NAN, NAN, NAN, 1.0],
        input_tokens=[1] * 5,
        output_tokens=[1] * 5,
        parent=[-1, 0, 1, 2, -1],
    )
    assert len(chain.take([0, 2, 3, 4])) == 2
    assert chain.head(4).parent.tolist() == [-1, 0, 1, 2]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([1, 0], "strictly increasing"),
        (np.array([1, 0], np.uint8), "strictly increasing"),
        ([0.0], "strictly increasing"),
        ([0, 3], "from 0 to 2, got 0 to 3"),
        ([1], "no request is left"),
    ],
)
def test_take_rejects(rows: Any, message: str):
    with pytest.raises(WorkloadError, match=message):
        three_turns().take(rows)
    with pytest.raises(WorkloadError, match="head: requests must be from 1 to 3, got 4"):
        three_turns().head(4)


@st.composite
def prefix_forests(draw: st.DrawFn) -> Workload:
    rows = draw(st.integers(1, 9))
    input_tokens = [draw(st.integers(1, 6)) for _ in range(rows)]
    output_tokens = [draw(st.integers(1, 4)) for _ in range(rows)]
    prefix_request, prefix_tokens = [-1], [0]
    for row in range(1, rows):
        other = draw(st.integers(-1, row - 1))
        most = min(input_tokens[row], input_tokens[other] + output_tokens[other])
        prefix_request.append(other)
        prefix_tokens.append(0 if other < 0 else draw(st.integers(1, most)))
    return Workload.build(
        arrival_s=range(rows),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        prefix_request=prefix_request,
        prefix_tokens=prefix_tokens,
    )


def sequences(workload: Workload) -> list[list[int]]:
    """Every row's tokens spelled out, prompt and output; tokens beyond the prefix are new ones."""
    spelled: list[list[int]] = []
    new = 0
    for row in range(len(workload)):
        shared = workload.prefix_tokens[row]
        tokens = spelled[workload.prefix_request[row]][:shared] if shared else []
        fresh = workload.input_tokens[row] + workload.output_tokens[row] - shared
        spelled.append([*tokens, *range(new, new + fresh)])
        new += fresh
    return spelled


def common(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


@given(workload=prefix_forests(), keep=st.lists(st.booleans(), min_size=9, max_size=9))
def test_take_keeps_what_every_two_rows_share(workload: Workload, keep: list[bool]):
    rows = [row for row in range(len(workload)) if keep[row]] or [0]
    before, after = sequences(workload), sequences(workload.take(rows))
    for new_row, row in enumerate(rows):
        for new_other, other in enumerate(rows):
            assert common(after[new_row], after[new_other]) == common(before[row], before[other])


def test_the_head_of_all_rows_is_the_whole():
    chat = generate("chatbot", 0, {"requests": 200})
    assert chat.head(200) == chat


def test_jitter_spreads_ticks_in_order():
    arrival_s = np.repeat([0.0, 3.0, 4.0, 10.0], [50, 1, 20, 30])
    ticking = Workload.build(arrival_s=arrival_s, input_tokens=[1] * 101, output_tokens=[1] * 101)
    spread = ticking.jitter(seed=1)
    assert (np.diff(spread.arrival_s) >= 0).all()
    assert spread.arrival_s[50] == 3.0
    for rows, start_s, end_s in ((slice(0, 50), 0, 3), (slice(51, 71), 4, 10), (slice(71, 101), 10, 13)):
        part = spread.arrival_s[rows]
        assert part.min() >= start_s
        assert part.max() <= end_s
        assert part.max() - part.min() > (end_s - start_s) / 2
    assert spread == ticking.jitter(seed=1)
    assert spread != ticking.jitter(seed=2)
    with pytest.raises(WorkloadError, match="jitter: all requests arrive at one instant"):
        ticking.head(50).jitter(seed=1)


def test_repeat_plays_fresh_copies_one_after_another():
    once = three_turns()
    twice = once.repeat(2)
    assert twice.arrival_s[[0, 2, 3, 5]].tolist() == [0.0, 2.0, 4.0, 6.0]
    assert twice.parent.tolist() == [-1, 0, -1, -1, 3, -1]
    assert twice.prefix_request.tolist() == [-1, 0, 0, -1, 3, 3]
    assert twice.session.tolist() == [0, 0, 1, 2, 2, 3]
    assert once.repeat(1) == once
    with pytest.raises(WorkloadError, match="repeat: times must be at least 1, got 0"):
        once.repeat(0)
    with pytest.raises(WorkloadError, match="no span to repeat after"):
        once.head(2).repeat(2)


def test_parquet_round_trip_is_exact(tmp_path):
    workload = three_turns(category=[2, 0, 2], category_names=("chat", "unused", "código"), client=[3, 3, -1])
    workload = workload.scale_time(1 / 3)
    workload.to_parquet(tmp_path / "w.parquet")
    back = Workload.from_parquet(tmp_path / "w.parquet")
    assert back == workload
    assert back.category_names == workload.category_names


def test_bad_parquet(tmp_path):
    path = tmp_path / "w.parquet"

    def error() -> str:
        with pytest.raises(WorkloadError) as caught:
            Workload.from_parquet(path)
        assert str(caught.value).startswith(str(path))
        return str(caught.value)

    assert "no such file" in error()
    path.mkdir()
    assert "is a directory; give a file" in error()
    path.rmdir()
    path.write_bytes(b"PAR1 and then nothing")
    assert "not readable as Parquet" in error()
    three_turns().to_parquet(path)
    table = pq.read_table(path)

    def change(table: pa.Table) -> str:
        pq.write_table(table, path)
        return error()

    assert "not written by Workload.to_parquet" in change(table.replace_schema_metadata(None))
    assert "no column 'turn'" in change(table.drop_columns(["turn"]))
    assert "did you mean 'turn'?" in change(table.append_column("turns", table["turn"]))
    zeros = pa.array([0, 0, 0], pa.int32())
    at = table.column_names.index("input_tokens")
    assert "input_tokens, row 0: 0 is below 1" in change(table.set_column(at, "input_tokens", zeros))
    nulls = pa.nulls(3, pa.int32())
    assert "input_tokens: 3 empty cells" in change(table.set_column(at, "input_tokens", nulls))
    version = table.schema.metadata[b"servesim.workload"].replace(b'"version": 1', b'"version": 2')
    assert "format version 2" in change(table.replace_schema_metadata({b"servesim.workload": version}))
