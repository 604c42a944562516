"""ServeGen folders: what is read, the cache, clients without lengths, and what is refused."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from workloads.arrivals import FAMILIES
from workloads.compose import generate
from workloads.errors import TraceError
from workloads.servegen import read_servegen

DATA = Path(__file__).parents[2] / "shared/data/servegen"
TRACE = ["0,1.5,2.0,Gamma,0.25,2.6", "600,0,0,,0,0", "1200,0.5,3.5,Weibull,0.4,0.6", "1800,2,1,Poisson,1,0.5"]
LANGUAGE = {"input_tokens": "{100: 0.25, 200: 0.75}", "output_tokens": "{0: 0.5, 20: 0.5}"}
IDLE = {"input_tokens": "{}", "output_tokens": "{}"}
REASON = {**LANGUAGE, "reason_ratio": "{0.0: 0.0, 0.5: 1.0}"}
MULTIMODAL = {
    "text_tokens": "{8: 1.0}",
    "image_tokens": "{500: 0.5, 700: 0.5}",
    "audio_tokens": "{0: 1.0}",
    "video_tokens": "{0: 1.0}",
    "image_count": "{1: 0.5, 2: 0.5}",
    "audio_count": "{0: 1.0}",
    "video_count": "{0: 1.0}",
    "output_tokens": "{9: 1.0}",
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(folder: Path, id: int, trace: list[str] | None, dataset: object) -> Path:
    folder.mkdir(exist_ok=True)
    if trace is not None:
        (folder / f"chunk-{id}-trace.csv").write_text("\n".join(trace) + "\n")
    if dataset is not None:
        text = dataset if isinstance(dataset, str) else json.dumps(dataset)
        (folder / f"chunk-{id}-dataset.json").write_text(text)
    return folder


def test_what_is_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", 12, TRACE, {"0": LANGUAGE, "1200": {**LANGUAGE, "input_tokens": "{7: 1.0}"}})
    pool = read_servegen(folder)
    (client,) = pool.clients
    assert (pool.name, client.id, pool.edges_s.tolist()) == ("m", 12, [0, 600, 1200, 1800, 2400])
    assert client.arrivals.rate_per_s.tolist() == [1.5, 0, 0.5, 2]
    assert client.arrivals.cv.tolist() == [2, 0, 3.5, 1]
    assert [FAMILIES[code] for code in client.arrivals.family[[0, 2, 3]]] == ["gamma", "weibull", "poisson"]
    first = client.lengths[client.lengths_of_window[0]].input
    assert (first.values.tolist(), first.probabilities.tolist()) == ([100, 200], [0.25, 0.75])
    assert client.mean_tokens("mean_input_tokens").tolist() == [175, 175, 7, 7]
    assert pool.notes == ("0.5 of the requests have an output of 0 tokens: they get 1",)
    assert set(generate(pool, seed=0).output_tokens) == {1, 20}


def test_reason_and_multimodal(tmp_path: Path) -> None:
    reason = read_servegen(write(tmp_path / "r", 0, TRACE, {"0": REASON})).clients[0].lengths[0]
    assert reason.reason_ratio is not None and reason.reason_ratio.mean() == 0.5
    lengths = read_servegen(write(tmp_path / "mm", 0, TRACE, {"0": MULTIMODAL})).clients[0].lengths[0]
    assert list(lengths.media or {}) == ["image"]  # no audio or video ever
    assert lengths.mean_input_tokens == 8 + 1.5 * 600


def test_clients_without_lengths(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", 0, TRACE, {"0": LANGUAGE, "1200": IDLE})  # idle where the client is active
    write(folder, 1, TRACE, {"0": {**LANGUAGE, "input_tokens": "{900: 1.0}"}})
    write(folder, 2, TRACE, None)
    # 0 lacks 2.5, 2 lacks 4 of 12 (times 600)
    message = "2 of 3 clients, with 54.2% of the requests, have no lengths while they are active"
    with pytest.raises(TraceError, match=f"{folder}: {message}; choose missing_lengths 'skip' or 'borrow'"):
        read_servegen(folder)

    skipped = read_servegen(folder, "skip")
    assert [client.id for client in skipped.clients] == [0, 1]
    assert skipped.clients[0].arrivals.rate_per_s.tolist() == [1.5, 0, 0, 0]
    assert skipped.notes[0] == f"{message}: skipped"

    borrowed = read_servegen(folder, "borrow")
    assert [client.id for client in borrowed.clients] == [0, 1, 2]
    assert borrowed.notes[0] == f"{message}: borrowed from the others"
    # before 1200 s from 0 and 1, of equal rate; then from 1 alone
    means = borrowed.clients[2].mean_tokens("mean_input_tokens")
    assert means[[0, 2, 3]] == pytest.approx([(175 + 900) / 2, 900, 900])
    assert borrowed.clients[0].mean_tokens("mean_input_tokens")[[0, 2]] == pytest.approx([175, 900])
    assert borrowed.rate_per_s.tolist() == [4.5, 0, 1.5, 6]


def test_nobody_to_borrow_from(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", 0, TRACE, {"0": LANGUAGE, "1200": IDLE})
    with pytest.raises(TraceError, match="nobody has lengths to borrow from 1200 s on; use 'skip'"):
        read_servegen(folder, "borrow")


def test_cache_follows_the_files(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", 0, TRACE, {"0": LANGUAGE})
    first = generate(read_servegen(folder), seed=0)
    (stored,) = (tmp_path / "cache").rglob("*.npz")
    assert generate(read_servegen(folder), seed=0) == first == generate(read_servegen(folder, cache=False), seed=0)
    stored.write_bytes(b"not whole")
    assert generate(read_servegen(folder), seed=0) == first
    write(folder, 0, TRACE, {"0": {**LANGUAGE, "input_tokens": "{7: 1.0}"}})
    os.utime(folder / "chunk-0-dataset.json", ns=(1, 1))
    assert set(generate(read_servegen(folder), seed=0).input_tokens) == {7}


def bad_line(number: int, line: str) -> list[str]:
    return [*TRACE[:number], line, *TRACE[number + 1 :]]


BAD_TRACES = [
    ([], "chunk-0-trace.csv: has 0 lines"),
    (TRACE[:1], "chunk-0-trace.csv: has 1 lines; at least 2 windows"),
    (bad_line(1, "600,0,0,,0"), "chunk-0-trace.csv:2: has 5 cells, expected 6"),
    (bad_line(1, ""), "chunk-0-trace.csv:2: has 1 cells"),
    (["start,rate,cv,family,shape,scale", *TRACE], "chunk-0-trace.csv:1: start: 'start' is not a finite number"),
    (bad_line(2, "1200,fast,3.5,Weibull,0.4,0.6"), "chunk-0-trace.csv:3: rate: 'fast' is not a finite number"),
    (bad_line(2, "1200,,3.5,Weibull,0.4,0.6"), "chunk-0-trace.csv:3: rate: '' is not a finite number"),
    (bad_line(2, "1200,nan,3.5,Weibull,0.4,0.6"), "chunk-0-trace.csv:3: rate: 'nan' is not a finite number"),
    (bad_line(2, "1200,1,inf,Weibull,0.4,0.6"), "chunk-0-trace.csv:3: cv: 'inf' is not a finite number"),
    (bad_line(2, "1200,-0.5,3.5,Weibull,0.4,0.6"), "chunk-0-trace.csv:3: rate: -0.5 is negative"),
    (bad_line(2, "1200,0.5,-3.5,Weibull,0.4,0.6"), "chunk-0-trace.csv:3: cv: -3.5 is not from"),
    (bad_line(2, "1200,0.5,0,Weibull,0.4,0.6"), "chunk-0-trace.csv:3: cv: 0 is not from"),
    (
        bad_line(2, "1200,0.5,3.5,Weibul,0.4,0.6"),
        "chunk-0-trace.csv:3: family: unknown 'Weibul'; did you mean 'Weibull'?",
    ),
    (bad_line(2, "1200,0.5,3.5,,0.4,0.6"), "chunk-0-trace.csv:3: rate: 0.5 comes without a family"),
    (bad_line(1, "600,0,0,Gamma,0,0"), "chunk-0-trace.csv:2: rate: 0 comes with a family"),
    (bad_line(0, "0,1.5,200,Gamma,0.25,2.6"), "chunk-0-trace.csv:1: cv: 200 is not 1 / sqrt(shape)"),  # per cent
    (bad_line(0, "0,2.0,1.5,Gamma,0.25,2.6"), "chunk-0-trace.csv:1: cv: 1.5 is not 1 / sqrt(shape)"),  # swapped
    ([TRACE[0], TRACE[2], TRACE[1], TRACE[3]], "chunk-0-trace.csv:3: start: 600 is not after the line before"),
    ([TRACE[0], TRACE[0], *TRACE[1:]], "chunk-0-trace.csv:2: start: 0 is not after the line before"),
    (bad_line(0, "-600,1.5,2.0,Gamma,0.25,2.6"), "chunk-0-trace.csv:1: start: -600 is not after"),
    (["0,0,0,,0,0", "600,0,0,,0,0"], "no client is active with lengths"),
]


def law(text: object, field: str = "input_tokens") -> dict:
    return {"0": {**REASON, field: text}} if field == "reason_ratio" else {"0": {**LANGUAGE, field: text}}


BAD_DATASETS = [
    ("", "chunk-0-dataset.json:1: is not JSON"),
    ('{"0": {\n"input_tokens" "{}"}}', "chunk-0-dataset.json:2: is not JSON"),
    ({}, "chunk-0-dataset.json: is no object of start -> laws"),
    ([1], "chunk-0-dataset.json: is no object of start -> laws"),
    ({"0": "{1: 1.0}"}, "'0': is no object of field -> law"),
    (
        {"0": {"input_token": "{}", "output_tokens": "{}"}},
        "'0': unknown field 'input_token'; did you mean 'input_tokens'?",
    ),
    ({"0": {"input_tokens": "{1: 1.0}"}}, "'0': has no field 'output_tokens'"),
    ({"0": LANGUAGE, "600": REASON}, "'600': unknown field 'reason_ratio'"),
    ({"noon": LANGUAGE}, "'noon': is not a time in seconds"),
    (
        {"0": LANGUAGE, "1200000": LANGUAGE},
        "'1200000': is no start of a window, which are from 0 to 1800 s; check the unit",
    ),
    ({"1200": LANGUAGE, "600": LANGUAGE}, "'600': is not after 1200; sort the entries"),
    (law({"1": 1.0}), "'0': input_tokens: is no text like"),
    (law("[1, 2]"), "'0': input_tokens: is no text like"),
    (law("{1: 0.5, 2: 0.4}"), "'0': input_tokens: probabilities sum to 0.9, not 1"),
    (law("{1: 50, 2: 50}"), "'0': input_tokens: probabilities sum to 100, not 1"),  # per cent
    (law("{1: 1.5, 2: -0.5}"), "'0': input_tokens: probabilities, row 1: -0.5"),
    (law("{1: nan, 2: 1}"), "'0': input_tokens: probabilities, row 0: nan"),
    (law("{2: 0.5, 1: 0.5}"), "'0': input_tokens: values, row 1: 1.0 does not increase"),
    (law("{-1: 0.5, 1: 0.5}"), "'0': input_tokens: values, row 0: -1.0"),
    (law("{1: 0.5, 2: }"), "'0': input_tokens: '2:' is no 'value: probability'"),
    (law("{1: 0.5, 2}"), "'0': input_tokens: '2' is no 'value: probability'"),
    (law("{1: 0.5, 2: 3: 0.5}"), "'0': input_tokens: '2: 3: 0.5' is no 'value: probability'"),
    (law("{__import__('os'): 1.0}"), "is no 'value: probability'"),
    (law("{0.512: 1.0}"), "'0': input_tokens: 0.512 is no whole number; check the unit"),  # thousands of tokens
    (law("{50.0: 1.0}", "reason_ratio"), "'0': reason_ratio: 50 is no ratio from 0 to 1"),  # per cent
]


def check(folder: Path, message: str) -> None:
    with pytest.raises(TraceError) as error:
        read_servegen(folder)
    text = str(error.value)
    assert message in text and str(folder) in text and "\n" not in text


@pytest.mark.parametrize(("trace", "message"), BAD_TRACES)
def test_bad_trace(tmp_path: Path, trace: list[str], message: str) -> None:
    folder = write(tmp_path / "m", 0, trace, {"0": LANGUAGE})
    if not trace:
        (folder / "chunk-0-trace.csv").write_text("")
    check(folder, message)


@pytest.mark.parametrize(("dataset", "message"), BAD_DATASETS)
def test_bad_dataset(tmp_path: Path, dataset: object, message: str) -> None:
    check(write(tmp_path / "m", 0, TRACE, dataset), message)


def test_bad_folders(tmp_path: Path) -> None:
    check(tmp_path / "absent", "no such folder")
    (tmp_path / "empty").mkdir()
    check(tmp_path / "empty", "has no chunk-<id>-trace.csv")
    check(write(write(tmp_path / "a", 0, TRACE, None), 1, None, {"0": LANGUAGE}), "chunk-1-dataset.json: has no trace")
    (write(tmp_path / "b", 0, TRACE, None) / "part-trace.csv").write_text("")
    check(tmp_path / "b", "part-trace.csv: is not named chunk-<id>-trace.csv")
    check(
        write(write(tmp_path / "c", 0, TRACE, None), 1, TRACE[:3], None),
        "windows differ from those of chunk-0-trace.csv",
    )
    with pytest.raises(TraceError, match="did you mean 'borrow'"):
        read_servegen(tmp_path / "c", "borow")


@pytest.mark.skipif(not DATA.is_dir(), reason="ServeGen's data is not at hand")
def test_a_real_folder_reads_the_same_from_its_cache() -> None:
    pool = read_servegen(DATA / "language/m-large", "borrow")
    again = read_servegen(DATA / "language/m-large", "borrow")
    assert pool.notes == again.notes
    assert pool.notes[0].startswith("15 of 162 clients, with 37.3% of the requests, have no lengths")
    one_hour = {"start_s": 36000.0, "duration_s": 3600.0}
    workload = generate(again, seed=0, **one_hour)
    assert len(workload) > 1_000_000
    assert np.array_equal(workload.arrival_s, generate(pool, seed=0, **one_hour).arrival_s)
