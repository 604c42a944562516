"""Sweeps wherever their cells run: the same bytes, also after a kill; dead workers and failing cells lose no others."""

import os
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pytest

from sim.cells import Failed, run_all
from sim.cells.backends import open_pool
from sim.sweep import read_definition, sweep

EXTRA = {"ray": "ray", "dask": "distributed"}
BACKENDS = ["loky", "ray", "dask"]
ROOT = Path(__file__).parents[1]
GRIDS = ["instances=1,2,3,4,5,6,7,8,9,10", "router=vllm,lmetric,random,round-robin,least-requests"]
SETTINGS = ["workload.builtin=api", "workload.options.requests=50"]
SEEDS, CELLS = 4, 200
COMMAND = [
    *[argument for grid in GRIDS for argument in ("--grid", grid)],
    *[argument for setting in SETTINGS for argument in ("--set", setting)],
    *["--seeds", str(SEEDS), "--jobs", "2"],
]


def need(backend: str) -> None:
    if backend in EXTRA:
        pytest.importorskip(EXTRA[backend], reason=f"pip install 'servesim[{backend}]'")


def digests(folder: Path) -> dict[str, str]:
    """Every file below ``folder``, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """The sweep in one go, one cell after the other."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    done = sweep(read_definition(None, GRIDS, SETTINGS, SEEDS), folder, backend="inline")
    assert (done.cells, done.found, done.failures) == (CELLS, 0, [])
    return digests(folder)


def start(backend: str, folder: Path) -> subprocess.Popen:
    """The command in a process group of its own, as a shell starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "sim.cli", "sweep", *COMMAND, "--backend", backend, "--output", folder],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # as from a terminal, wherever the tests run
    )


def kill_half_way(backend: str, folder: Path, how: signal.Signals) -> tuple[int, str]:
    """Start the sweep and send the signal to its whole group, as Ctrl-C does, when a part is done."""
    process = start(backend, folder)
    while len(list((folder / "cells").glob("0*.parquet"))) < CELLS // 4:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    os.killpg(process.pid, how)
    return process.wait(60), process.communicate()[1]


@pytest.mark.parametrize(
    ("backend", "how"),
    [("loky", signal.SIGINT), ("loky", signal.SIGKILL), ("ray", signal.SIGINT), ("dask", signal.SIGINT)],
)
def test_a_sweep_killed_half_way_and_resumed_gives_the_same_bytes(backend, how, tmp_path, uninterrupted):
    need(backend)
    status, errors = kill_half_way(backend, tmp_path, how)
    if how == signal.SIGINT:
        assert status == 130 and errors in ("", "servesim: interrupted\n")
        assert not list(tmp_path.rglob(".partial*"))
    kept = digests(tmp_path)
    assert CELLS // 4 < len(kept) < CELLS
    assert {name: kept[name] for name in kept if ".partial" not in name}.items() <= uninterrupted.items()
    printed, errors = (resumed := start(backend, tmp_path)).communicate(timeout=300)
    assert (resumed.returncode, errors) == (0, "")
    found = sum(name.startswith("cells/0") for name in kept)
    assert printed.startswith(f"{CELLS} cells: {found} were there, {CELLS - found} run, 0 failed\n")
    assert digests(tmp_path) == uninterrupted
    assert len(pd.read_parquet(tmp_path / "cells")) == CELLS


def behave(how: str) -> str:
    """A cell that does as it is told; a path is a mark that its worker has died already."""
    if how.startswith("/") and not Path(how).exists():
        Path(how).touch()
        os._exit(1)
    if how == "dies":
        os._exit(1)
    if how == "fails":
        raise ZeroDivisionError("of all things")
    return how


@pytest.mark.parametrize("backend", BACKENDS)
def test_dead_workers_are_replaced_and_failures_told(backend, tmp_path):
    need(backend)
    items = ["a", str(tmp_path / "died"), "b", "dies", "c", "fails", *map(str, range(10))]
    with open_pool(backend, 2) as pool:
        outcomes = dict(run_all(behave, items, pool))
    assert sorted(outcomes) == list(range(len(items)))
    died, failed = outcomes[items.index("dies")], outcomes[items.index("fails")]
    assert isinstance(died, Failed) and "ended from outside 3 times" in died.error
    assert failed == Failed("ZeroDivisionError: of all things")
    others = [place for place, how in enumerate(items) if how not in ("dies", "fails")]
    assert [outcomes[place] for place in others] == [items[place] for place in others]


@pytest.mark.parametrize(("backend", "address"), [("ray", "127.0.0.1:1"), ("dask", "tcp://127.0.0.1:1")])
def test_where_there_is_no_cluster_there_is_one_line(servesim, backend, address, tmp_path):
    need(backend)
    arguments = ["sweep", *COMMAND[:-2], "--backend", backend, "--address", address, "--output", tmp_path / "out"]
    status, _, errors = servesim(*arguments)
    assert status == 1 and errors.count("\n") == 1 and f"--backend {backend}: no cluster at {address}" in errors


@pytest.mark.parametrize("backend", EXTRA)
def test_a_missing_extra_is_one_line(servesim, monkeypatch, backend, tmp_path):
    monkeypatch.setitem(sys.modules, EXTRA[backend], None)
    status, _, errors = servesim("sweep", *COMMAND, "--backend", backend, "--output", tmp_path)
    assert status == 1 and errors.count("\n") == 1 and f"pip install 'servesim[{backend}]'" in errors
