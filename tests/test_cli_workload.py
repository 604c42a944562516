"""`servesim workload` as a user meets it, and scenarios that run a client pool."""

import json
from pathlib import Path

import numpy as np
import pytest

import workloads
from sim import cli_workload, make_scenario, simulate
from workloads import Workload, load
from workloads.characterize import describe
from workloads.compose import generate
from workloads.nominal import nominal_arrival_s
from workloads.pools import load_pool, pool_names
from workloads.servegen import read_servegen

SERVEGEN = Path(__file__).parents[2] / "shared/data/servegen"
LENGTHS = {"0": {"input_tokens": "{100: 0.5, 400: 0.5}", "output_tokens": "{10: 0.5, 20: 0.5}"}}
TRACE = "arrival_s,input_tokens,output_tokens\n0,100,10\n1,200,20\n2,300,30\n"
CHAT = ["chatbot", "--option", "requests=300"]


@pytest.fixture
def servesim(servesim, monkeypatch, tmp_path):
    """The command, run in an empty folder and with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return servesim


@pytest.fixture
def folder(tmp_path):
    """Two ServeGen clients of 1 and 3 requests a second for 20 minutes; of a third, no lengths are known."""
    path = tmp_path / "pool"
    path.mkdir()
    for id_, rate_per_s in enumerate((1.0, 3.0)):
        rows = (f"{start_s},{rate_per_s},2.0,Gamma,0.25,1" for start_s in (0, 600))
        (path / f"chunk-{id_}-trace.csv").write_text("\n".join(rows) + "\n")
        (path / f"chunk-{id_}-dataset.json").write_text(json.dumps(LENGTHS))
    (path / "chunk-2-trace.csv").write_text("0,1.0,1.0,Poisson,1,1\n600,1.0,1.0,Poisson,1,1\n")
    return path


def chat(seed: int = 0) -> Workload:
    return workloads.generate("chatbot", seed, {"requests": 300})


def files() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


# --- describe ---


def test_describe_prints_the_headline(servesim):
    status, printed, _ = servesim("workload", "describe", *CHAT, "--seed", 3)
    assert status == 0
    for name, value in describe(chat(seed=3)).headline():
        assert name in printed and value in printed


def test_describe_writes_reports(servesim):
    for name, begin in (("r.html", b"<!doctype html>"), ("r.png", b"\x89PNG"), ("r.json", b"{")):
        status, printed, _ = servesim("workload", "describe", *CHAT, "--out", name)
        assert status == 0 and f"Written to {name}" in printed
        assert Path(name).read_bytes().startswith(begin)
    assert files() == ["r.html", "r.json", "r.png"]


def test_describe_prints_json(servesim):
    status, printed, _ = servesim("workload", "describe", *CHAT, "--json", "--block-tokens", 64, "--window", 10)
    expected = describe(chat(), block_tokens=64, window_s=10.0)
    assert status == 0 and json.loads(printed) == json.loads(expected.to_json())


def test_describe_reads_traces_and_parquet(servesim):
    Path("t.csv").write_text(TRACE.replace("arrival_s", "at"))
    columns = "columns={arrival_s: at}"
    arguments = ["--format", "csv", "--option", columns, "--option", "time_unit=ms", "--json"]
    status, printed, _ = servesim("workload", "describe", "t.csv", *arguments)
    assert status == 0 and json.loads(printed)["summary"]["span_s"] == pytest.approx(0.002)
    chat().to_parquet("t.parquet")
    status, printed, _ = servesim("workload", "describe", "t.parquet", "--json")
    assert status == 0 and json.loads(printed)["summary"]["requests"] == 300


# --- generate ---


def test_generate_writes_what_the_library_makes(servesim, folder):
    pool = read_servegen(folder, "skip")
    expected = generate(pool, seed=5, start_s=300, duration_s=600, rate_per_s=2.0)
    options = ["--missing-lengths", "skip", "--start", 300, "--duration", 600, "--rate", 2, "--seed", 5]
    status, printed, _ = servesim("workload", "generate", folder, *options, "--out", "a.parquet")
    assert status == 0 and f"{len(expected):,} requests written to a.parquet" in printed
    assert "1 of 3 clients" in printed and "skipped" in printed
    assert Workload.from_parquet("a.parquet") == expected
    servesim("workload", "generate", folder, *options, "--out", "b.parquet")
    assert Path("a.parquet").read_bytes() == Path("b.parquet").read_bytes()
    for to, name in (("csv", "a.csv"), ("mooncake", "m.jsonl"), ("vllm", "v.jsonl")):
        status, _, _ = servesim("workload", "generate", folder, *options, "--to", to, "--out", name)
        assert status == 0
    assert load("a.csv", "csv").input_tokens.tolist() == expected.input_tokens.tolist()
    assert load("m.jsonl", "mooncake").output_tokens.tolist() == expected.output_tokens.tolist()
    assert len(Path("v.jsonl").read_text().splitlines()) == len(expected)
    assert files() == ["a.csv", "a.parquet", "b.parquet", "m.jsonl", "v.jsonl"]


def test_generate_scales_the_pools_own_rate(servesim, folder):
    options = ["--missing-lengths", "borrow", "--scale", 0.5, "--out", "a.parquet"]
    assert servesim("workload", "generate", folder, *options)[0] == 0
    assert Workload.from_parquet("a.parquet") == generate(read_servegen(folder, "borrow"), seed=0, scale=0.5)


@pytest.mark.skipif(not SERVEGEN.exists(), reason="ServeGen's folders are not at ../shared/data/servegen")
def test_generate_an_hour_of_every_category(servesim):
    for pool in ("language/m-small", "reason/deepseek-r1", "multimodal/mm-image"):
        options = ["--missing-lengths", "borrow", "--start", 36000, "--duration", 3600, "--rate", 5]
        status, printed, _ = servesim("workload", "generate", SERVEGEN / pool, *options, "--out", "hour.parquet")
        hour = Workload.from_parquet("hour.parquet")
        assert status == 0 and hour.category_names == (Path(pool).name,) and f"{len(hour):,} requests" in printed
        assert len(hour) == pytest.approx(18_000, rel=0.2) and hour.arrival_s.max() < 3600  # bursts and all


def test_generate_from_a_recipe(servesim):
    options = ["--rate", 4, "--duration", 200, "--option", "clients=10", "--seed", 3]
    assert servesim("workload", "generate", "chatbot", *options, "--out", "a.parquet")[0] == 0
    expected = workloads.generate("chatbot", 3, {"rate_per_s": 4.0, "duration_s": 200.0, "clients": 10})
    assert Workload.from_parquet("a.parquet") == expected
    options += ["--to", "mooncake", "--open-loop", "--out", "a.jsonl"]
    assert servesim("workload", "generate", "chatbot", *options)[0] == 0
    assert len(load("a.jsonl", "mooncake")) == len(expected)


@pytest.mark.parametrize("pool", pool_names())
def test_generate_from_a_pool_of_the_package(servesim, pool):
    options = ["--start", 36000, "--duration", 600, "--rate", 5]
    status, printed, _ = servesim("workload", "generate", pool, *options, "--out", "a.parquet")
    assert status == 0 and "Apache-2.0" in printed
    assert Workload.from_parquet("a.parquet") == generate(
        load_pool(pool), seed=0, start_s=36000, duration_s=600, rate_per_s=5
    )


# --- fit ---


def test_fit_a_folder_and_run_it(servesim, folder):
    options = ["--name", "mine", "--origin", "drawn by hand", "--out", "mine.npz.xz"]
    status, printed, _ = servesim("workload", "fit", folder, *options)
    assert status == 0 and "drawn by hand" in printed and "1 of 3 clients" in printed and "borrowed" in printed
    assert files() == ["mine.npz.xz"]
    pool = load_pool("mine.npz.xz")
    assert pool.name == "mine" and len(pool.clients) == 3
    assert sorted(pool.rate_per_s) == pytest.approx([5.0, 5.0], rel=0.02)
    assert servesim("workload", "pools", "./mine.npz.xz")[1].startswith("drawn by hand")
    Path("scenario.yaml").write_text("workload: {pool: mine.npz.xz, options: {duration_s: 60}}\n")
    status, printed, _ = servesim("run", "scenario.yaml", "--json")
    assert status == 0 and json.loads(printed)["requests"] == pytest.approx(300, rel=0.5)


def test_fit_a_trace(servesim):
    times_s = np.random.default_rng(0).exponential(0.5, 4000).cumsum()
    rows = "".join(f"{at_s},100,10\n" for at_s in times_s)
    Path("t.csv").write_text("at,input_tokens,output_tokens\n" + rows)
    columns = ["--option", "columns={arrival_s: at}"]
    assert servesim("workload", "fit", "t.csv", "--format", "csv", *columns, "--out", "t.npz.xz")[0] == 0
    pool = load_pool("t.npz.xz")
    assert pool.name == "t" and pool.rate_per_s.mean() == pytest.approx(2.0, rel=0.05)


def test_pools_and_recipes_are_listed(servesim):
    status, printed, _ = servesim("workload", "pools")
    assert status == 0 and all(name in printed for name in pool_names())
    status, printed, _ = servesim("workload", "recipes")
    assert status == 0 and all(name in printed for name in workloads.BUILTINS)


# --- convert ---


def test_convert_there_and_back(servesim):
    there = chat(seed=2)
    there.to_parquet("chat.parquet")
    assert servesim("workload", "convert", "chat.parquet", "--out", "chat.csv")[0] == 0
    assert servesim("workload", "convert", "chat.csv", "--format", "csv", "--to", "parquet", "--out", "back")[0] == 0
    assert Workload.from_parquet("back") == there


def test_convert_gives_follow_ups_times(servesim):
    options = ["--seed", 2, "--to", "mooncake", "--open-loop", "--out", "t.jsonl"]
    assert servesim("workload", "convert", *CHAT, *options)[0] == 0
    expected_s = sorted(nominal_arrival_s(chat(seed=2)))
    assert load("t.jsonl", "mooncake").arrival_s == pytest.approx(expected_s)


def test_a_write_that_fails_leaves_the_old_file(servesim, monkeypatch):
    def fail(workload, path):
        path.write_text("half")
        raise OSError(28, "No space left on device", str(path))

    Path("t.csv").write_text("old")
    monkeypatch.setitem(cli_workload.WRITERS, "csv", fail)
    status, _, said = servesim("workload", "convert", *CHAT, "--out", "t.csv")
    assert status == 1 and "No space left" in said
    assert files() == ["t.csv"] and Path("t.csv").read_text() == "old"


# --- scenarios ---


def test_a_scenario_runs_a_pool_beside_it(servesim, folder):
    scenario = folder.parent / "scenario.yaml"
    scenario.write_text(
        "workload:\n  pool: pool\n  options: {rate_per_s: 2, start_s: 600, duration_s: 300, missing_lengths: skip}\n"
    )
    status, printed, _ = servesim("run", scenario, "--json")
    summary = json.loads(printed)
    assert status == 0 and summary["requests"] == pytest.approx(600, rel=0.3)
    assert summary["scenario"]["workload"]["options"]["rate_per_s"] == 2
    again = servesim("run", scenario, "--json")[1]
    assert json.loads(again)["ttft_s"] == summary["ttft_s"]


def test_a_pool_takes_the_place_of_the_files_source_and_its_options(servesim, folder):
    Path("scenario.yaml").write_text("workload: {builtin: chatbot, options: {requests: 20}}\n")
    options = ["--set", "workload.options={missing_lengths: skip, duration_s: 60}", "--json"]
    status, printed, said = servesim("run", "scenario.yaml", "--pool", folder, *options)
    assert status == 0, said
    assert json.loads(printed)["scenario"]["workload"]["pool"] == str(folder)


def test_slices_and_scales_apply_to_pools_too(folder):
    source = {"pool": str(folder), "options": {"missing_lengths": "skip"}, "requests": 50, "time_scale": 2.0}
    result = simulate(make_scenario({"workload": source}))
    assert len(result.requests) == 50


# --- mistakes ---

MISTAKES = {
    "unknown command": (["workload", "descibe"], 2, "describe"),
    "unknown source": (["workload", "describe", "none"], 1, "give --format"),
    "near a recipe": (["workload", "describe", "chatbt"], 1, "chatbot"),
    "unknown format": (["workload", "describe", "t.csv", "--format", "cvs"], 1, "did you mean 'csv'"),
    "missing file": (["workload", "describe", "none.csv", "--format", "csv"], 1, "none.csv"),
    "missing Parquet": (["workload", "describe", "none.parquet"], 1, "none.parquet: no such file"),
    "unknown option": (["workload", "describe", "t.csv", "--format", "csv", "--option", "time_units=ms"], 1,
                       "'time_unit'"),
    "option without a value": (["workload", "describe", *CHAT, "--option", "requests"], 1, "NAME=VALUE"),
    "option given twice": (["workload", "describe", *CHAT, "--option", "requests=3"], 1, "given twice"),
    "unknown report": (["workload", "describe", *CHAT, "--out", "r.htm"], 1, "did you mean .html"),
    "window of no time": (["workload", "describe", *CHAT, "--window", "0"], 1, "window_s"),
    "block of no tokens": (["workload", "describe", *CHAT, "--block-tokens", "0"], 2, "block-tokens"),
    "report in no folder": (["workload", "describe", *CHAT, "--out", "none/r.html"], 1, "no folder none"),
    "output that is a folder": (["workload", "convert", *CHAT, "--to", "csv", "--out", "."], 1, "is a folder"),
    "format not told": (["workload", "convert", *CHAT, "--out", "t.jsonl"], 1, "give --to"),
    "unknown writer": (["workload", "convert", *CHAT, "--to", "moncake", "--out", "t.jsonl"], 1, "mean mooncake"),
    "follow-ups without times": (["workload", "convert", *CHAT, "--to", "vllm", "--out", "t.jsonl"], 1, "--open-loop"),
    "no pool": (["workload", "generate", "none", "--out", "t.csv"], 1, "'none'"),
    "clients without lengths": (["workload", "generate", "POOL", "--out", "t.csv"], 1, "1 of 3 clients"),
    "unknown choice": (["workload", "generate", "POOL", "--missing-lengths", "drop", "--out", "t.csv"], 2, "borrow"),
    "negative rate": (["workload", "generate", *["POOL", "--missing-lengths", "skip"], "--rate", "-1",
                       "--out", "t.parquet"], 1, "rate_per_s"),
    "rate of nan": (["workload", "generate", *["POOL", "--missing-lengths", "skip"], "--rate", "nan",
                     "--out", "t.parquet"], 1, "rate_per_s"),
    "rate and scale": (["workload", "generate", *["POOL", "--missing-lengths", "skip"], "--rate", "1", "--scale", "2",
                        "--out", "t.parquet"], 1, "not both"),
    "no time": (["workload", "generate", *["POOL", "--missing-lengths", "skip"], "--duration", "0",
                 "--out", "t.parquet"], 1, "duration_s"),
    "beyond the pool": (["workload", "generate", *["POOL", "--missing-lengths", "skip"], "--start", "900",
                         "--duration", "3600", "--out", "t.parquet"], 1, "it covers 0.0 to 1200.0 s"),
    "nothing arrives": (["workload", "generate", *["POOL", "--missing-lengths", "skip"], "--rate", "1e-9",
                         "--out", "t.parquet"], 1, "rate higher"),
    "pool option of a recipe": (["workload", "generate", "chatbot", "--scale", "2", "--out", "t.csv"], 1,
                                "is a recipe"),
    "rate given twice": (["workload", "generate", "chatbot", "--rate", "2", "--option", "rate_per_s=3",
                          "--out", "t.csv"], 1, "leave one out"),
    "recipe option of a pool": (["workload", "generate", "m-large", "--option", "clients=3", "--out", "t.csv"], 1,
                                "m-large is a pool"),
    "unknown option of a recipe": (["workload", "generate", "chatbot", "--option", "client=3", "--out", "t.csv"], 1,
                                   "did you mean 'clients'"),
    "lengths of a fitted pool": (["workload", "generate", "m-large", "--missing-lengths", "skip", "--out", "t.csv"], 1,
                                 "is for ServeGen folders"),
    "near a pool": (["workload", "generate", "m-larg", "--out", "t.csv"], 1, "did you mean m-large"),
    "pool that is a trace": (["workload", "generate", "./t.csv", "--out", "t.parquet"], 1, "t.csv: is no pool"),
    "fit of nothing": (["workload", "fit", "none", "--out", "p.npz.xz"], 1, "none"),
    "fit of an unknown format": (["workload", "fit", "t.csv", "--format", "cvs", "--out", "p.npz.xz"], 1, "'csv'"),
    "lengths of a trace": (["workload", "fit", "t.csv", "--format", "csv", "--missing-lengths", "skip",
                            "--out", "p.npz.xz"], 1, "is for ServeGen folders"),
    "trace option of a folder": (["workload", "fit", "POOL", "--option", "time_unit=ms", "--out", "p.npz.xz"], 1,
                                 "a ServeGen folder has none"),
    "unknown pool to tell of": (["workload", "pools", "m-smal"], 1, "did you mean 'm-small'"),
    "negative seed": (["workload", "generate", "POOL", "--seed", "-1", "--out", "t.csv"], 2, "seed"),
    "no output": (["workload", "generate", "POOL"], 2, "--out"),
    "pool option of a scenario": (["run", "--pool", "POOL", "--set", "workload.options.rate_per=1"], 1,
                                  "workload: options: rate_per: unknown key; did you mean 'rate_per_s'"),
    "pool option out of range": (["run", "--pool", "POOL", "--set", "workload.options.scale=-1"], 1, "scale"),
    "pool and trace": (["run", "--pool", "POOL", "--trace", "t.csv", "--trace-format", "csv"], 1, "or `pool`"),
    "pool with a format": (["run", "--pool", "POOL", "--trace-format", "csv"], 1, "`format` goes with `trace`"),
    "no pool to run": (["run", "--pool", "none"], 1, "'none'"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_line_and_writes_nothing(servesim, folder, mistake):
    arguments, expected_status, named = MISTAKES[mistake]
    Path("t.csv").write_text(TRACE)
    status, printed, said = servesim(*(str(folder) if word == "POOL" else word for word in arguments))
    assert status == expected_status and printed == "" and named in said
    if status == 1:
        assert said.startswith("servesim: error: ") and said.count("\n") == 1
    assert files() == ["t.csv"] and Path("t.csv").read_text() == TRACE


@pytest.mark.parametrize("command", ["describe", "generate", "convert", "fit", "pools", "recipes"])
def test_every_command_has_help_with_an_example(servesim, command):
    status, printed, _ = servesim("workload", command, "--help")
    assert status == 0 and f"Example: servesim workload {command}" in printed
