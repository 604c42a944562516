"""Trace-event files: their schema, slices that never overlap, flows inside slices, and the command's options."""

import gzip
import json
from collections import defaultdict
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from harness import examples
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from sim import make_scenario
from sim.errors import SimError
from sim.simulation import load_workload, run_scenario
from sim.trace_events import FIRST_INSTANCE, ROUTER, WHOLE_RUN, parse_window, write_trace_events

PLACE = {"name": {"type": "string"}, "pid": {"type": "integer", "minimum": 1}, "tid": {"type": "integer", "minimum": 1}}
TIME = {"type": "number", "minimum": 0}


def event(phases: list[str], **properties) -> dict:
    known = PLACE | {"ph": {"enum": phases}} | properties
    return {"type": "object", "properties": known, "required": list(known), "additionalProperties": False}


SCHEMA = {
    "type": "object",
    "required": ["displayTimeUnit", "traceEvents"],
    "additionalProperties": False,
    "properties": {
        "displayTimeUnit": {"enum": ["ns"]},
        "traceEvents": {
            "type": "array",
            "items": {
                "oneOf": [
                    event(["M"], args={"type": "object", "minProperties": 1}),
                    event(["X"], ts=TIME, dur=TIME, args={"type": "object"}),
                    event(["C"], ts=TIME, args={"type": "object", "additionalProperties": {"type": "integer"}}),
                    event(
                        ["s", "t", "f"],
                        ts=TIME,
                        cat={"type": "string"},
                        id={"type": "integer", "minimum": 0},
                        bp={"const": "e"},
                    ),
                ]
            },
        },
    },
}


def scenario(**fields):
    workload = {"builtin": "chatbot", "options": {"requests": 200, "rate_per_s": 30.0, "between_s": 1.0}}
    return make_scenario({"workload": workload, "instances": 2, "engine": {"num_blocks": 3000}} | fields)


def traced(folder: Path, window: str = ":", name: str = "trace.json", **fields):
    """The run, and the events of its file, times exact."""
    window_s, one = parse_window(window), scenario(**fields)
    result = run_scenario(one, load_workload(one), trace_window_s=window_s)
    write_trace_events(result, folder / name, window_s)
    return result, json.loads((folder / name).read_text(), parse_float=Decimal)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    failing = [{"at_s": 3.0, "kind": "fail", "instance": 0}, {"at_s": 4.0, "kind": "repair", "instance": 0}]
    return traced(tmp_path_factory.mktemp("trace"), operations=failing)


def slices_by_track(events: list[dict]) -> dict[int, list[dict]]:
    tracks = defaultdict(list)
    for one in events:
        if one["ph"] == "X":
            tracks[one["tid"]].append(one)
    return {track: sorted(slices, key=lambda one: one["ts"]) for track, slices in tracks.items()}


def assert_no_overlap(events: list[dict]) -> None:
    for slices in slices_by_track(events).values():
        for earlier, later in pairwise(slices):
            assert earlier["ts"] + earlier["dur"] <= later["ts"]


def test_the_file_follows_the_schema(whole):
    _, trace = whole
    as_read = json.loads(json.dumps(trace, default=float))
    errors = list(Draft202012Validator(SCHEMA).iter_errors(as_read))
    assert not errors, errors[0].message
    assert {one["ph"] for one in trace["traceEvents"]} == set("MXCstf")


def test_every_instance_and_the_router_have_a_name(whole):
    _, trace = whole
    names = {one["pid"]: one["args"]["name"] for one in trace["traceEvents"] if one["name"] == "process_name"}
    assert names == {ROUTER: "router", FIRST_INSTANCE: "instance 0", FIRST_INSTANCE + 1: "instance 1"}


def test_slices_of_a_track_never_overlap(whole):
    assert_no_overlap(whole[1]["traceEvents"])


def test_slices_add_up_to_the_run(whole):
    result, trace = whole
    tracks = slices_by_track(trace["traceEvents"])
    iterations = 0
    for i, inst in enumerate(result.cluster.state.inst):
        slices = tracks[FIRST_INSTANCE + i]
        assert sum(one["dur"] for one in slices) * 10**6 == int(inst["busy_ps"])
        iterations += sum(one["args"]["iterations"] for one in slices)
        tokens = [(one["args"]["prefill_tokens"], one["args"]["decode_requests"]) for one in slices]
        repeats = [one["args"]["iterations"] for one in slices]
        assert sum(k * prefill for k, (prefill, _) in zip(repeats, tokens, strict=True)) == inst["prefill_tokens"]
        assert sum(k * decodes for k, (_, decodes) in zip(repeats, tokens, strict=True)) == inst["decode_tokens"]
    assert iterations == result.summary["iterations"]
    failed = [one for one in trace["traceEvents"] if one.get("args", {}).get("failed")]
    assert [(one["pid"], one["ts"] + one["dur"]) for one in failed] == [(FIRST_INSTANCE, 3_000_000)]


def test_every_request_arrives_once_in_the_router_s_slices(whole):
    result, trace = whole
    arrivals = slices_by_track(trace["traceEvents"])[ROUTER]
    arrived = {request: one["ts"] * 10**6 for one in arrivals for request in one["args"]["requests"]}
    assert arrived == dict(enumerate(result.cluster.state.req["arrival"].tolist()))


def test_flows_lead_from_the_arrival_to_the_first_and_the_last_slice(whole):
    result, trace = whole
    tracks, flows = slices_by_track(trace["traceEvents"]), defaultdict(list)
    for one in trace["traceEvents"]:
        if one["ph"] in "stf":
            (inside,) = (s for s in tracks[one["tid"]] if s["ts"] < one["ts"] < s["ts"] + s["dur"])
            flows[one["id"]].append((one["ph"], inside))
    req = result.cluster.state.req
    assert set(flows) == set(range(len(req)))
    for request, points in flows.items():
        phases = [phase for phase, _ in points]
        assert phases in (["s", "t", "f"], ["s", "f"])
        arrival, first, last = points[0][1], points[1][1], points[-1][1]
        assert request in arrival["args"]["requests"]
        assert first["pid"] == last["pid"] == FIRST_INSTANCE + req["instance"][request]
        assert first["ts"] * 10**6 == int(req["first_scheduled"][request])
        assert (last["ts"] + last["dur"]) * 10**6 == int(req["finish"][request])
        assert (len(phases) == 2) == (first is last)


def test_counters_end_at_nothing(whole):
    last = {}
    for one in whole[1]["traceEvents"]:
        if one["ph"] == "C":
            last[one["pid"], one["name"]] = one["args"][one["name"]]
    assert len(last) >= 4 and set(last.values()) == {0}


@examples(5)
@given(start_s=st.floats(0, 5), length_s=st.floats(0.01, 3), routing=st.sampled_from(["random", "lmetric"]))
def test_a_window_shows_whole_slices_that_overlap_it(tmp_path_factory, start_s, length_s, routing):
    end_s = start_s + length_s
    result, trace = traced(tmp_path_factory.mktemp("window"), f"{start_s!r}:{end_s!r}", router=routing)
    assert_no_overlap(trace["traceEvents"])
    tracks = slices_by_track(trace["traceEvents"])
    for one in tracks.pop(ROUTER, []):
        assert start_s * 10**6 - 1 <= one["ts"] <= end_s * 10**6
    for slices in tracks.values():
        for one in slices:
            assert one["ts"] + one["dur"] > start_s * 10**6 - 1 and one["ts"] < end_s * 10**6 + 1
    assert sum(map(len, tracks.values())) == len(result.cluster.jumps)


def test_a_compressed_file_says_the_same_and_is_the_same_each_time(tmp_path):
    files = [tmp_path / name for name in ("plain.json", "one.json.gz", "two.json.gz")]
    one = scenario()
    result = run_scenario(one, load_workload(one), trace_window_s=WHOLE_RUN)
    for file in files:
        assert write_trace_events(result, file, WHOLE_RUN) == len(result.cluster.jumps)
    assert gzip.decompress(files[1].read_bytes()) == files[0].read_bytes()
    assert files[1].read_bytes() == files[2].read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("5", "--trace-window 5: expected START:END in seconds, for example 60:90"),
        ("a:b", "--trace-window a:b: expected START:END in seconds, for example 60:90"),
        ("9:3", "--trace-window 9:3: give 0 <= START < END <= 4,000,000"),
        ("nan:3", "--trace-window nan:3: give 0 <= START < END <= 4,000,000"),
        ("-1:3", "--trace-window -1:3: give 0 <= START < END <= 4,000,000"),
    ],
)
def test_a_window_that_is_none_is_refused(text, message):
    with pytest.raises(SimError) as error:
        parse_window(text)
    assert str(error.value) == message


def test_a_window_may_be_open():
    assert parse_window("60:90") == (60.0, 90.0)
    assert parse_window("60:") == (60.0, WHOLE_RUN[1]) and parse_window(":") == WHOLE_RUN
