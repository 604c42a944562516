"""Sweeps: what their cells are, what the folder holds, going on where one stopped, and what is refused."""

import json

import duckdb
import pandas as pd
import pytest

from sim import make_scenario, simulate
from sim.cells import row
from sim.sweep import plan, read_definition, sweep
from sim.sweep.sweep import measure

WORKLOAD = {"builtin": "api", "options": {"requests": 50}}
SMALL = ["--set", f"workload={json.dumps(WORKLOAD)}"]
ROUTERS = ["--grid", "router=vllm,lmetric"]
NEVER_SERVED = [{"at_s": 0.5, "kind": "fail", "instance": 0}]


@pytest.fixture
def sweeping(servesim, tmp_path):
    """Run the command on this process into the folder ``sweep``; returns what `servesim` does."""
    return lambda *arguments: servesim("sweep", *arguments, "--backend", "inline", "--output", tmp_path / "sweep")


def cells_of(*grids, seeds=1, **fields):
    settings = [f"{field}={json.dumps(value)}" for field, value in ({"workload": WORKLOAD} | fields).items()]
    return plan(read_definition(None, grids, settings, seeds)).cells


# --- cells ------------------------------------------------------------------------------------------------------------


def test_a_grid_has_every_combination_and_every_seed():
    cells = cells_of("instances=1,2", "router=vllm,lmetric", seeds=2, seed=7)
    of_cells = [(one.scenario.instances, one.scenario.router, one.scenario.seed) for one in cells]
    assert of_cells == [(n, router, seed) for n in (1, 2) for router in ("vllm", "lmetric") for seed in (7, 8)]
    assert [one.index for one in cells] == list(range(8)) and len({one.digest for one in cells}) == 8
    assert len({one.requests_digest for one in cells}) == 2


def test_a_sweep_file_has_a_list_beside_the_grid_and_files_beside_it(tmp_path):
    (tmp_path / "trace.csv").write_text("arrival_s,input_tokens,output_tokens\n0,100,10\n1,200,20\n")
    (tmp_path / "base.yaml").write_text("workload: {trace: trace.csv, format: csv}\ninstances: 2\n")
    (tmp_path / "sweep.yaml").write_text(
        "scenario: base.yaml\n"
        "grid: {workload.rate_scale: [1.0, 2.0]}\n"
        "list:\n- {router: linear, router_options.lambda: 0.5}\n- {router: vllm, instances: 3}\n"
    )
    cells = plan(read_definition(tmp_path / "sweep.yaml")).cells
    assert [one.values for one in cells] == [
        {"router": router, "router_options.lambda": share, "instances": n, "workload.rate_scale": rate}
        for router, share, n in (("linear", 0.5, 2), ("vllm", None, 3))
        for rate in (1.0, 2.0)
    ]
    inline = tmp_path / "inline.yaml"
    inline.write_text("scenario: {workload: {trace: trace.csv, format: csv}}\nseeds: 2\n")
    assert len(plan(read_definition(inline)).cells) == 2
    assert len(plan(read_definition(inline, ["instances=1,2"], seeds=3)).cells) == 6


def test_a_digest_is_of_contents_and_not_of_paths(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("arrival_s,input_tokens,output_tokens\n0,100,10\n")

    def digest(name):
        return cells_of("instances=2,3", workload={"trace": str(tmp_path / name), "format": "csv"})[0].digest

    assert digest("a.csv") == digest("b.csv")
    before = digest("a.csv")
    (tmp_path / "a.csv").write_text("arrival_s,input_tokens,output_tokens\n0,100,11\n")
    assert digest("a.csv") != before


# --- the dataset ------------------------------------------------------------------------------------------------------


def test_a_row_is_the_summary_of_its_run(sweeping, tmp_path):
    status, printed, _ = sweeping(*SMALL, "--grid", "instances=1,2", *ROUTERS, "--seeds", 2)
    assert status == 0 and printed.startswith("8 cells: 0 were there, 8 run, 0 failed\n")
    table = pd.read_parquet(tmp_path / "sweep/cells")
    assert list(table.columns[:5]) == ["index", "digest", "seed", "instances", "router"]
    assert table["index"].tolist() == list(range(8))
    for _, one in table.iterrows():
        fields = {name: one[name] for name in ("instances", "router", "seed")}
        alone = row(simulate(make_scenario({"workload": WORKLOAD} | fields)).summary)
        assert {name: None if pd.isna(one[name]) else one[name] for name in alone} == alone


def test_pandas_and_duckdb_read_it_as_it_is(sweeping, tmp_path):
    listed = "scenario: {workload: {builtin: api, options: {requests: 1}}}\nlist:\n"
    listed += "- {instances: 2, engine.async_scheduling: false, tp: 1}\n"
    listed += "- {router: linear, router_options.lambda: 1, series_interval_s: null}\n"
    listed += "- {router: linear, router_options.lambda: 0.5, operations: [{at_s: 900, kind: drain, instance: 0}]}\n"
    (tmp_path / "sweep.yaml").write_text(listed)
    assert sweeping(tmp_path / "sweep.yaml")[0] == 0
    glob = f"{tmp_path}/sweep/cells/*.parquet"
    described = duckdb.sql(f"DESCRIBE SELECT * FROM read_parquet('{glob}')").fetchall()
    types = {name: type_ for name, type_, *_ in described}
    expected = {"index": "BIGINT", "digest": "VARCHAR", "seed": "BIGINT", "instances": "BIGINT", "router": "VARCHAR"}
    expected |= {"engine.async_scheduling": "BOOLEAN", "router_options.lambda": "DOUBLE", "operations": "VARCHAR"}
    expected |= {"requests": "BIGINT", "ttft_p99_s": "DOUBLE", "tpot_mean_s": "DOUBLE", "evicted_blocks": "BIGINT"}
    assert {name: types[name] for name in expected} == expected
    for file in sorted((tmp_path / "sweep/cells").iterdir()):
        of_one = duckdb.sql(f"DESCRIBE SELECT * FROM read_parquet('{file}')").fetchall()
        assert of_one == described
    by_duckdb = duckdb.sql(f"SELECT * FROM read_parquet('{glob}') ORDER BY \"index\"").df()
    by_pandas = pd.read_parquet(tmp_path / "sweep/cells")
    pd.testing.assert_frame_equal(by_duckdb, by_pandas, check_dtype=False)
    assert by_pandas["router_options.lambda"].isna().tolist() == [True, False, False]
    assert json.loads(by_pandas["operations"][2])[0]["kind"] == "drain"


# --- going on ---------------------------------------------------------------------------------------------------------


def test_a_failing_cell_is_told_and_tried_again(sweeping, servesim, tmp_path):
    arguments = [*SMALL, "--grid", f"operations=[],{json.dumps(NEVER_SERVED)}", "--seeds", 2]
    for found in (0, 2):
        status, printed, errors = sweeping(*arguments)
        assert status == 1 and printed.startswith(f"4 cells: {found} were there, {2 - found} run, 2 failed\n")
        assert errors.count("\n") == 2 and "servesim: failed: cell 2 (operations=[{" in errors
        assert "seed=1)" in errors and "no instance accepts" in errors
    assert pd.read_parquet(tmp_path / "sweep/cells")["index"].tolist() == [0, 1]


def test_only_the_missing_cells_are_run(tmp_path):
    definition = read_definition(None, ["instances=1,2,3"], [f"workload={json.dumps(WORKLOAD)}"])
    ran = []

    def watched(cell):
        ran.append(cell.index)
        return measure(cell)

    sweep(definition, tmp_path, "inline", measure=watched)
    whole = {path.name: path.read_bytes() for path in (tmp_path / "cells").iterdir()}
    lost = sorted((tmp_path / "cells").iterdir())[1]
    lost.rename(lost.with_name(f".partial-{lost.name}"))  # as a killed sweep leaves it
    done = sweep(definition, tmp_path, "inline", measure=watched)
    assert ran == [0, 1, 2, 1] and done.found == 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "cells").iterdir()} == whole


def test_cells_of_the_same_requests_follow_each_other(tmp_path):
    definition = read_definition(None, ["instances=1,2"], [f"workload={json.dumps(WORKLOAD)}"], seeds=2)
    ran = []

    def watched(cell):
        ran.append(cell.scenario.seed)
        return measure(cell)

    sweep(definition, tmp_path, "inline", measure=watched)
    assert ran == [0, 0, 1, 1]


def test_another_sweep_is_not_mixed_in(sweeping, tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s,input_tokens,output_tokens\n0,100,10\n")
    traced = ["--set", f"workload={{trace: {trace}, format: csv}}"]
    assert sweeping(*traced, *ROUTERS)[0] == 0

    def refused(*arguments):
        status, _, errors = sweeping(*arguments)
        assert status == 1 and errors.count("\n") == 1 and "give another --output" in errors
        return errors

    assert "is another sweep, its seeds differs" in refused(*traced, *ROUTERS, "--seeds", 2)
    assert "is another sweep, its grid differs" in refused(*traced, "--grid", "instances=1,2")
    trace.write_text("arrival_s,input_tokens,output_tokens\n0,100,11\n")
    assert f"{trace} has changed since this sweep was begun" in refused(*traced, *ROUTERS)
    known = tmp_path / "sweep/sweep.json"
    known.write_text(known.read_text().replace('"servesim": "', '"servesim": "0.0.'))
    assert "was begun with servesim 0.0." in refused(*traced, *ROUTERS)
    known.write_text("{")
    assert "is no description of a sweep" in refused(*traced, *ROUTERS)
    known.unlink()
    assert "is there without" in refused(*traced, *ROUTERS)


def test_other_files_among_the_cells_are_refused(sweeping, tmp_path):
    assert sweeping(*SMALL, *ROUTERS)[0] == 0
    (tmp_path / "sweep/cells/mine.parquet").touch()
    status, _, errors = sweeping(*SMALL, *ROUTERS)
    assert status == 1 and "mine.parquet: is no cell of this sweep; move it away" in errors


# --- mistakes ---------------------------------------------------------------------------------------------------------

MISTAKES = {
    "nothing": ([], "nothing to sweep"),
    "no grid": (SMALL, "nothing to sweep; give --grid"),
    "no values": ([*SMALL, "--grid", "instances"], "FIELD=VALUE,VALUE"),
    "no YAML": ([*SMALL, "--grid", "instances=[1,2"], "is not YAML"),
    "unknown field": ([*SMALL, "--grid", "engin.block_size=16,32"], "cell 0 (engin.block_size=16): scenario: engin:"),
    "bad value": ([*SMALL, "--grid", "instances=1,0"], "cell 1 (instances=0): scenario: instances:"),
    "unknown router": ([*SMALL, "--grid", "router=vllm,lmetrc"], "cell 1 (router=lmetrc): router: 'lmetrc' is unknown"),
    "unknown GPU": ([*SMALL, "--grid", "gpu=H20,H21"], "cell 1 (gpu=H21)"),
    "unknown batching": ([*SMALL, "--grid", "engine.batching=vllm,sarati"], "cell 1 (engine.batching=sarati)"),
    "unknown workload": (["--grid", "workload.builtin=api,chatbt"], "did you mean 'chatbot'"),
    "unknown option": ([*SMALL, "--grid", "workload.options.rate_pr_s=1,2"], "did you mean 'rate_per_s'"),
    "missing trace": (["--set", "workload.format=csv", "--grid", "workload.trace=a.csv"], "a.csv: No such file"),
    "unknown format": (["--set", "workload.trace=.", "--grid", "workload.format=cvs"], "did you mean csv"),
    "seeds as a field": ([*SMALL, "--grid", "seed=1,2"], "seed: is not swept like other fields"),
    "the same twice": ([*SMALL, "--grid", "instances=2,2"], "cell 1 (instances=2, seed=0): is the same run as cell 0"),
    "too many": ([*SMALL, *ROUTERS, "--seeds", 10**6], "2,000,000 cells are more than 1,000,000"),
    "jobs": ([*SMALL, *ROUTERS, "--jobs", 2], "--jobs 2: the backend inline"),
    "address": ([*SMALL, *ROUTERS, "--address", "a:1"], "has no cluster; use --backend ray or dask"),
    "no file": (["missing.yaml"], "cannot be read"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line_before_any_cell_runs(sweeping, tmp_path, mistake):
    arguments, expected = MISTAKES[mistake]
    status, _, errors = sweeping(*arguments)
    assert (status, errors.count("\n")) == (1, 1) and expected in errors
    assert not list(tmp_path.rglob("*.parquet"))


def test_an_unknown_backend_has_near_misses(servesim, tmp_path):
    status, _, errors = servesim("sweep", *SMALL, *ROUTERS, "--backend", "daks", "--output", tmp_path)
    assert status == 1 and "did you mean dask?" in errors


BAD_FILES = {
    "scenario: {workload: {builtin: api}}\ngrids: {tp: [1]}\n": "grids: unknown key",
    "grid: {tp: [1, 2]}\n": "scenario: is missing",
    "scenario: {workload: {builtin: api}}\ngrid: {tp: 1}\n": "grid.tp:",
    "scenario: {workload: {builtin: api}}\ngrid: {tp: []}\n": "grid: tp: has no values",
    "scenario: {workload: {builtin: api}}\ngrid: {tp: [1]}\nlist: [{tp: 2}]\n": "tp: is in the grid and in the list",
}


@pytest.mark.parametrize("text", BAD_FILES)
def test_a_bad_sweep_file_is_one_line(sweeping, tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    status, _, errors = sweeping(path)
    assert status == 1 and errors.count("\n") == 1 and str(path) in errors and BAD_FILES[text] in errors


def test_help_has_an_example(servesim):
    status, printed, _ = servesim("sweep", "--help")
    assert status == 0 and "Example: servesim sweep scenario.yaml --grid" in " ".join(printed.split())
