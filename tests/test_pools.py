"""Files of pools: what comes with the package, what is written and read, and what is refused."""

import lzma
from pathlib import Path

import numpy as np
import pytest

from workloads.arrivals import Arrivals
from workloads.clients import Client, ClientPool
from workloads.compose import generate, reason_tokens
from workloads.errors import WorkloadError
from workloads.fit import fit_pool
from workloads.lengths import Empirical, Exponential, Lengths, LogNormal, Media, Mixture
from workloads.pools import load_pool, pool_names, save_pool
from workloads.pools.quantile_table import QuantileTable, quantile_table


def every_kind() -> ClientPool:
    image = Media(Empirical.build([0, 1, 3], [0.2, 0.5, 0.3]), LogNormal(600, 0.3))
    laws = Lengths(LogNormal(300, 0.9), Exponential(80), Empirical.build([0, 0.35, 0.95], [0.1, 0.4, 0.5]))
    pictures = Lengths(LogNormal(30, 0.5), Exponential(50), media={"image": image}, correlation=0.4)
    return ClientPool.build(
        "mixed",
        [100, 700, 1300],
        [
            Client.build(7, Arrivals.build([0, 0.3], "weibull", [1, 3.7]), pictures),
            Client.build(2, Arrivals.build([2.0, 5.0], ["gamma", "poisson"], [2.2, 1.0]), laws),
            Client.build(4, Arrivals.build([0.5, 0.5], "deterministic"), laws),
            Client.build(9, Arrivals.build([0, 0]), laws),
        ],
        ("a note",),
    )


def test_a_file_holds_the_fitted_pool_to_the_byte(tmp_path: Path) -> None:
    pool = fit_pool(every_kind(), origin="by hand")
    for name in ("a", "b"):
        save_pool(pool, tmp_path / name)
    again = load_pool(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (again.name, again.notes, again.edges_s.tolist()) == ("mixed", ("by hand", "a note"), [100, 700, 1300])
    assert [client.id for client in again.clients] == [2, 4, 7]  # by share; 9 never sends anything
    assert generate(again, seed=3) == generate(pool, seed=3)
    assert fit_pool(again).client_rates_per_s.tobytes() == again.client_rates_per_s.tobytes()
    assert again.clients[2].lengths[again.clients[2].lengths_of_window[1]].correlation == 0.4


def test_reasoning_is_kept(tmp_path: Path) -> None:
    pool = every_kind().take([2])
    fitted = fit_pool(pool)
    ratio = [(reason_tokens(p, w := generate(p, seed=1), seed=1) / w.output_tokens).mean() for p in (pool, fitted)]
    assert ratio[1] == pytest.approx(ratio[0], rel=0.02)


@pytest.mark.parametrize("name", ["m-large", "m-small", "deepseek-r1", "mm-image"])
def test_shipped_pools(name: str) -> None:
    pool = load_pool(name)
    assert name in pool_names() and pool.name == name
    assert "Apache-2.0" in pool.notes[0] and "alibaba/ServeGen" in pool.notes[0]
    assert (np.diff(pool.shares) <= 1e-3).all()  # by share, before rates were rounded
    assert len(generate(pool, seed=0, start_s=43200, duration_s=60)) > 10


def test_they_are_small() -> None:
    folder = Path(__file__).parents[1] / "workloads/pools"
    assert sum(file.stat().st_size for file in folder.glob("*.npz.xz")) < 700_000


def test_borrowed_lengths_are_told() -> None:
    assert any("borrowed" in note for note in load_pool("m-large").notes)


def test_no_requests_beyond_the_span() -> None:
    with pytest.raises(WorkloadError, match=r"it covers 0\.0 to 86400\.0 s"):
        generate(load_pool("mm-image"), seed=0, start_s=80000, duration_s=86400)


def test_unknown_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="no pool and no file 'm-larg'; did you mean 'm-large'"):
        load_pool("m-larg")
    with pytest.raises(WorkloadError, match="is a folder, no pool"):
        load_pool(tmp_path)
    whole = lzma.decompress((Path(__file__).parents[1] / "workloads/pools/mm-image.npz.xz").read_bytes())
    for content in (b"", b"text", lzma.compress(b"text"), lzma.compress(whole[: len(whole) // 2])):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(WorkloadError, match="bad: is no pool, or damaged"):
            load_pool(tmp_path / "bad")
    with pytest.raises(WorkloadError, match="'mixed' is not compact; give what fit_pool makes of it"):
        save_pool(every_kind(), tmp_path / "bad")


# --- quantile tables ---


@pytest.mark.parametrize(
    "law",
    [
        LogNormal(300, 1.2),
        Exponential(500),
        Mixture((LogNormal(40, 0.2), LogNormal(4000, 0.3)), (0.6, 0.4)),
        Empirical.build(np.arange(1, 2001), np.arange(2000, 0, -1) / 2001000),
    ],
)
def test_tables_follow_their_law(law: LogNormal) -> None:
    table = quantile_table(law, points=64)
    u = np.array([0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99, 0.995])
    assert table.quantile(u) == pytest.approx(law.quantile(u), rel=0.03, abs=1)
    assert table.mean() == pytest.approx(law.mean(), rel=0.02)


def test_few_values_are_kept_exactly() -> None:
    law = Empirical.build([0, 1, 3, 9], [0.25, 0.5, 0.0, 0.25])
    table = quantile_table(law)
    u = np.random.default_rng(0).random(10_000)
    differ = table.quantile(u) != law.quantile(u)
    assert set(table.quantile(u)) == {0, 1, 9} and differ.mean() < 1e-3  # levels are rounded to 1 / 65535
    assert table.mean() == pytest.approx(law.mean(), abs=1e-3)
    assert quantile_table(table) is table


def test_a_jump_between_modes_is_kept() -> None:
    values = np.append(np.arange(10, 40), np.arange(400, 500))
    law = Empirical.build(values, np.where(values < 100, 0.5 / 30, 0.5 / 100))
    drawn = quantile_table(law, points=24).quantile(np.linspace(0, 1, 10_001)[:-1])
    assert np.mean((drawn > 40) & (drawn < 400)) < 0.003


def test_linear_between_points() -> None:
    table = QuantileTable(np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.2, 1.0]), digits=3)
    assert table.quantile(np.array([0.25, 0.75])).tolist() == [0.1, 0.6]
    assert table.mean() == pytest.approx(0.35)
