"""The command as a user meets it: what it prints and writes, and what it says when the input is wrong."""

import contextlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

TRACE = Path(__file__).parents[2] / "shared/data/traces/mooncake_conversation_trace.jsonl.gz"
SMALL = ["--builtin", "chatbot", "--set", "workload.options.requests=200", "--instances", "2"]
REQUEST_COLUMNS = [
    *["request_id", "arrival_s", "input_tokens", "output_tokens", "client", "category", "session", "turn"],
    *["priority", "instance", "rejected", "hit_tokens", "host_hit_tokens", "pool_hit_tokens", "preemptions"],
    *["first_scheduled_s", "first_token_s", "finish_s", "queue_s", "ttft_s", "tpot_s", "e2e_s", "measured"],
]


def test_run_writes_the_documented_files(servesim, tmp_path):
    status, printed, _ = servesim("run", *SMALL, "--router", "lmetric", "--out", tmp_path)
    assert status == 0
    assert "lmetric" in printed and "assumptions" in printed
    requests = pd.read_parquet(tmp_path / "requests.parquet")
    assert list(requests.columns) == REQUEST_COLUMNS
    assert len(requests) == 200 and (requests["finish_s"] > requests["arrival_s"]).all()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["requests"] == 200
    assert set(summary["ttft_s"]) == {"mean", "ci95", "p50", "p90", "p95", "p99"}
    assert summary["ttft_s"]["mean"] == pytest.approx(requests["ttft_s"].mean())
    assert summary["scenario"]["engine"]["block_size"] == 16
    itl = pd.read_parquet(tmp_path / "itl.parquet")
    assert itl["count"].sum() == (requests["output_tokens"] - 1).sum()
    series = pd.read_parquet(tmp_path / "series.parquet")
    assert set(series["instance"]) == {0, 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *["control.parquet", "itl.parquet", "requests.parquet", "series.parquet", "summary.json"]
    ]


def test_the_same_command_writes_the_same_bytes(servesim, tmp_path):
    for folder in ("a", "b"):
        servesim("run", *SMALL, "--seed", 5, "--out", tmp_path / folder)
    for name in ("requests.parquet", "itl.parquet", "series.parquet", "control.parquet", "summary.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_several_routers_serve_the_same_requests(servesim, tmp_path):
    status, printed, _ = servesim("run", *SMALL, "--router", "round-robin", "--router", "vllm", "--out", tmp_path)
    assert status == 0 and "round-robin" in printed and "vllm" in printed
    a, b = (pd.read_parquet(tmp_path / name / "requests.parquet") for name in ("round-robin", "vllm"))
    assert a["input_tokens"].equals(b["input_tokens"])


def test_json_is_the_summary(servesim):
    status, printed, _ = servesim("run", *SMALL, "--json")
    assert status == 0 and json.loads(printed)["requests"] == 200
    status, printed, _ = servesim("run", *SMALL, "--router", "vllm", "--router", "random", "--json")
    assert [one["scenario"]["router"] for one in json.loads(printed)] == ["vllm", "random"]


def test_a_scenario_file_names_its_trace_relative_to_itself(servesim, tmp_path):
    (tmp_path / "trace.csv").write_text("arrival_s,input_tokens,output_tokens\n0,100,10\n1,200,20\n")
    (tmp_path / "scenario.yaml").write_text("workload: {trace: trace.csv, format: csv}\ninstances: 3\n")
    status, printed, _ = servesim("run", tmp_path / "scenario.yaml", "--instances", 1, "--json")
    assert status == 0
    summary = json.loads(printed)
    assert summary["requests"] == 2 and summary["scenario"]["instances"] == 1


def test_operations_from_the_command_line(servesim):
    operations = "operations=[{at_s: 1.0, kind: fail, instance: 0}, {at_s: 2.0, kind: add, startup_s: 1}]"
    status, printed, _ = servesim("run", *SMALL, "--set", operations, "--json")
    assert status == 0 and len(json.loads(printed)["instances"]) == 3


LISTED = {"routers": "lmetric", "formats": "mooncake", "gpus": "H20", "models": "qwen2.5-7b", "engines": "vllm"}


@pytest.mark.parametrize("command", LISTED)
def test_listings(servesim, command):
    status, printed, _ = servesim(command)
    expected = LISTED[command]
    assert status == 0 and expected in printed


def test_gpus_name_shows_sources_and_assumptions(servesim):
    status, printed, _ = servesim("gpus", "h20")
    assert status == 0 and "gpu.hbm_gb_per_s = 4000 GB/s" in printed and "InferSim" in printed
    assert "assumption: " in printed


@pytest.mark.parametrize("command", ["run", "explain", *LISTED])
def test_every_command_has_help_with_an_example(servesim, command):
    status, printed, _ = servesim(command, "--help")
    assert status == 0 and "Example: servesim" in printed


MISTAKES = {
    "unknown GPU": (["--gpu", "H21"], "'h20'"),
    "unknown model": (["--model", "qwen2.5-8b"], "qwen2.5-7b"),
    "unknown serving engine": (["--set", "serving_engine=vlm"], "'vllm'"),
    "unknown precision": (["--set", "precision=fp9"], "'fp8'"),
    "unknown KV format": (["--set", "engine.kv_cache_dtype=int8"], "'int4'"),
    "precision that the GPU lacks": (["--gpu", "A100", "--set", "precision=fp8"], "no fp8 units"),
    "experts of a dense model": (["--set", "ep=2"], "dense model"),
    "unknown router": (["--router", "lmetrc"], "lmetric"),
    "unknown section": (["--set", "engin.x=3"], "'engine'"),
    "unknown field": (["--set", "engine.block_sise=3"], "'block_size'"),
    "unknown workload field": (["--set", "workload.requets=3"], "'requests'"),
    "unknown workload option": (["--set", "workload.options.request=3"], "'requests'"),
    "workload option of a wrong type": (["--set", "workload.options.requests=many"], "requests"),
    "no value": (["--set", "engine.block_size"], "FIELD=VALUE"),
    "field of a number": (["--set", "tp.x=3"], "tp"),
    "unknown eviction policy": (["--set", "engine.eviction=lfuu"], "did you mean lfu"),
    "wrong type": (["--set", "engine.block_size=big"], "engine.block_size"),
    "out of range": (["--set", "engine.watermark=1.5"], "engine.watermark"),
    "zero instances": (["--instances", "0"], "instances"),
    "too many instances": (["--set", "instances=1000000000000"], "instances"),
    "empty value": (["--set", "engine.num_blocks="], "FIELD=VALUE"),
    "twice the same key": (["--set", "engine={block_size: 8, block_size: 16}"], "twice"),
    "not YAML": (["--set", "engine={block_size: ["], "not YAML"),
    "sexagesimal number": (["--set", "series_interval_s=1:30"], "series_interval_s"),
    "interval that is no time": (["--set", "series_interval_s=1e-13"], "series_interval_s"),
    "end before start": (["--set", "workload.start_s=5", "--set", "workload.end_s=3"], "not after"),
    "part that is no part": (["--set", "engine=fast"], "expected fields with values"),
    "markup in a name": (["--gpu", "[/x]"], "[/x]"),
    "the same router twice": (["--router", "vllm", "--router", "vllm"], "once"),
    "empty router": (["--router", ""], "router"),
    "seed of the generator": (["--set", "workload.options.seed=3"], "seed"),
    "think time beyond the clock": (["--set", "workload.options.between_s=1e8"], "think_s"),
    "time scale beyond the clock": (["--set", "workload.time_scale=1e300"], "arrival_s"),
    "run beyond the clock": (["--set", "workload.options.between_s=7.8e4", "--set", "series_interval_s=null"],
                             "longer than"),
    "instance missing": (["--set", "operations=[{at_s: 1, kind: fail}]"], "operations.0.instance"),
    "instance that will never be": (["--set", "operations=[{at_s: 1e6, kind: fail, instance: 7}]"], "use 0 to 1"),
    "start-up of a failure": (["--set", "operations=[{at_s: 1, kind: fail, instance: 0, startup_s: 3}]"], "startup_s"),
    "operation beyond the clock": (["--set", "operations=[{at_s: 1e300, kind: add}]"], "operations.0.at_s"),
    "misspelt field of an operation": (["--set", "operations=[{at_s: 1, knd: add}]"], "'kind'"),
    "output that is a file": (["--out", __file__], "test_cli.py"),
    "negative scale": (["--set", "workload.time_scale=-1"], "workload.time_scale"),
    "tp without collectives": (["--tp", "3"], "tensor parallelism 3"),
    "tp beyond the heads": (["--tp", "8"], "28"),
    "budget below sequences": (["--set", "engine.max_num_batched_tokens=5"], "max_num_seqs"),
    "request larger than the cache": (["--set", "engine.num_blocks=4"], "KV blocks"),
    "both sources": (["--set", "workload.trace=x.jsonl"], "either `trace`"),
    "trace without format": (["--trace", "x.jsonl"], "either `trace`"),
    "unknown operation": (["--set", "operations=[{at_s: 1, kind: fial, instance: 0}]"], "operations.0.kind"),
    "operation on no instance": (["--set", "operations=[{at_s: 0.1, kind: fail, instance: 7}]"], "use 0 to 1"),
    "nobody left": (["--set", "operations=[{at_s: 0, kind: drain, instance: 0}, {at_s: 0, kind: fail, instance: 1}]"],
                    "never be served"),
    "empty slice": (["--set", "workload.start_s=100000"], "no request arrives"),
    "too little memory": (["--model", "llama-3.1-70b"], "TP"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_line(servesim, mistake):
    arguments, named = MISTAKES[mistake]
    status, printed, said = servesim("run", *SMALL, *arguments)
    assert status == 1 and printed == ""
    assert said.startswith("servesim: error: ") and said.count("\n") == 1
    assert named in said


def test_a_bad_row_names_file_and_line(servesim, tmp_path):
    trace = tmp_path / "trace.jsonl"
    good = '{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [0, 1]}\n'
    trace.write_text(good + good.replace("[0, 1]", "[0]"))
    status, _, said = servesim("run", "--trace", trace, "--trace-format", "mooncake")
    assert status == 1 and f"{trace}:2" in said and "hash_ids" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "named"),
    [("- a\n- b\n", "expected fields"), ("workload: {trace: [", "not YAML"), ("gpu: H20\n", "nothing to run")],
)
def test_a_bad_scenario_file_is_one_clear_line(servesim, tmp_path, text, named):
    (tmp_path / "scenario.yaml").write_text(text)
    status, _, said = servesim("run", tmp_path / "scenario.yaml")
    assert status == 1 and named in said and said.count("\n") == 1


def test_the_installed_command_fails_without_a_traceback(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-m", "sim.cli", "run", str(tmp_path / "none.yaml")],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert ended.returncode == 1 and "Traceback" not in ended.stderr and "none.yaml" in ended.stderr


def test_a_terminal_sees_progress_and_the_table():
    """On a pseudo-terminal, where the bar is live."""
    command = [sys.executable, "-m", "sim.cli", "run", *SMALL]
    controller, terminal = pty.openpty()
    run = subprocess.Popen(command, stdout=terminal, stderr=terminal, cwd=Path(__file__).parents[1])
    os.close(terminal)
    seen = b""
    with contextlib.suppress(OSError):  # how the end of a terminal reads on Linux
        while chunk := os.read(controller, 4096):
            seen += chunk
    os.close(controller)
    assert run.wait() == 0 and b"requests" in seen and b"lmetric" in seen and b"Traceback" not in seen


def test_what_is_worth_knowing_is_said(servesim):
    late = "operations=[{at_s: 1e6, kind: add}]"
    status, printed, _ = servesim("run", *SMALL, "--builtin", "coder", "--set", late)
    assert status == 0 and "did not happen" in printed and "longer than the context" in printed


def test_an_option_takes_the_place_of_the_files_source(servesim, tmp_path):
    (tmp_path / "scenario.yaml").write_text("workload: {trace: trace.csv, format: csv}\n")
    status, printed, _ = servesim("run", tmp_path / "scenario.yaml", *SMALL, "--json")
    assert status == 0 and json.loads(printed)["requests"] == 200


@pytest.mark.skipif(not TRACE.exists(), reason="the Mooncake trace is not at ../shared/data/traces")
def test_mooncake_conversation_hour_on_sixteen_h20(servesim, tmp_path):
    status, _, _ = servesim(
        *["run", "--trace", TRACE, "--trace-format", "mooncake", "--gpu", "H20", "--model", "qwen2.5-7b"],
        *["--instances", 16, "--router", "lmetric", "--router", "round-robin", "--out", tmp_path],
    )
    assert status == 0
    lmetric, round_robin = (
        json.loads((tmp_path / name / "summary.json").read_text()) for name in ("lmetric", "round-robin")
    )
    assert len(pd.read_parquet(tmp_path / "lmetric/requests.parquet")) == 12_031 == lmetric["requests"]
    assert lmetric["ttft_s"]["mean"] < round_robin["ttft_s"]["mean"]
    assert lmetric["hit_ratio"] > round_robin["hit_ratio"]
