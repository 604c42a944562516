"""Fitting: traces and ServeGen's folders against what is generated from the fitted pools."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from workloads.arrivals import FAMILIES, GAMMA, POISSON, WEIBULL, ArrivalProcess, Arrivals
from workloads.characterize.arrivals import dispersion
from workloads.clients import Client, ClientPool
from workloads.compose import generate
from workloads.errors import TraceError, WorkloadError
from workloads.fit import fit_pool, fit_source
from workloads.fit.arrivals import fit_arrivals, fit_gaps
from workloads.lengths import Exponential, Lengths, LogNormal
from workloads.pools import load_pool, pool_names
from workloads.servegen import read_servegen
from workloads.traces import load
from workloads.workload import Workload

DATA = Path(__file__).parents[2] / "shared/data/servegen"
TRACES = DATA.parent / "traces"
FOLDERS = {
    "m-large": "language/m-large",
    "m-small": "language/m-small",
    "deepseek-r1": "reason/deepseek-r1",
    "mm-image": "multimodal/mm-image",
}
SEEDS = {"m-large": 2, "m-small": 1, "deepseek-r1": 6, "mm-image": 6}


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def measures(workload: Workload) -> dict[str, float]:
    gaps = np.diff(np.sort(workload.arrival_s))
    found = {"cv": float(gaps.std() / gaps.mean())}
    since_s = np.sort(workload.arrival_s) - workload.arrival_s.min()
    found |= {f"dispersion {bin_s}": dispersion(since_s, bin_s) for bin_s in (1, 10, 60)}
    for field in ("input_tokens", "output_tokens"):
        found |= {f"{field} p{q}": float(np.percentile(getattr(workload, field), q)) for q in (50, 90, 99)}
    requests = np.sort(np.bincount(workload.client[workload.client >= 0]))[::-1]
    return found | {"top ten": float(requests[:10].sum() / requests.sum())}


def assert_alike(found: dict[str, float], wanted: dict[str, float]) -> None:
    for name, value in wanted.items():
        if name == "top ten":
            assert abs(found[name] - value) <= 0.03, name
        else:
            assert found[name] == pytest.approx(value, rel=0.10 if "tokens" in name else 0.15), name


@pytest.mark.skipif(not DATA.is_dir(), reason="ServeGen's data is not at hand")
@pytest.mark.parametrize("when", ["peak", "night"])
@pytest.mark.parametrize("name", FOLDERS)
def test_an_hour_of_the_pool_is_like_one_of_the_folder(name: str, when: str) -> None:
    """Lengths p50/p90/p99 within 10 %, CV and dispersion within 15 %, the top ten's share within 3 points.

    Both are generated, as the folder holds no arrivals, and measures are means over SEEDS. Same seeds draw much the
    same gaps from both, which takes most of the noise out of the comparison.
    """
    raw, fitted = read_servegen(DATA / FOLDERS[name], "borrow"), load_pool(name)
    hourly = raw.rate_per_s[:144].reshape(24, 6).mean(axis=1)
    start_s = 3600.0 * (hourly.argmax() if when == "peak" else hourly.argmin())
    mean = []
    for pool in (fitted, raw):
        runs = [measures(generate(pool, seed=s, start_s=start_s, duration_s=3600)) for s in range(SEEDS[name])]
        mean.append({key: float(np.mean([run[key] for run in runs])) for key in runs[0]})
    assert_alike(*mean)


@pytest.mark.skipif(not DATA.is_dir(), reason="ServeGen's data is not at hand")
def test_shipped_pools_are_those_that_are_built() -> None:
    for name in ("deepseek-r1", "mm-image"):
        built = fit_source(DATA / FOLDERS[name])
        assert generate(built, seed=0, duration_s=600) == generate(load_pool(name), seed=0, duration_s=600)
    assert set(FOLDERS) <= set(pool_names())


@pytest.mark.skipif(not TRACES.is_dir(), reason="the traces are not at hand")
@pytest.mark.parametrize("name", ["azure_2023_conv", "azure_2023_code"])
def test_a_trace_without_clients(name: str) -> None:
    trace = load(TRACES / f"{name}.csv.gz", "azure")
    pool = fit_pool(trace, name=name)
    again = generate(pool, seed=1)
    assert len(pool.clients) == 1 and pool.name == name
    assert pool.rate_per_s @ np.diff(pool.edges_s) == pytest.approx(len(trace), rel=0.01)
    for field in ("input_tokens", "output_tokens"):
        for q in (50, 90, 99):
            own = np.percentile(getattr(trace, field), q)
            assert np.percentile(getattr(again, field), q) == pytest.approx(own, rel=0.10, abs=2)


# --- traces made up ---


def a_trace(seed: int = 0) -> tuple[ClientPool, Workload]:
    """Ten clients over half an hour."""
    rng = np.random.default_rng(7)
    clients = []
    for id_ in range(10):
        family = ("poisson", "gamma", "weibull")[id_ % 3]
        cv = None if family == "poisson" else rng.uniform(1.3, 2)
        lengths = Lengths(LogNormal(100 * (id_ + 1), 0.8), Exponential(50 + 20 * id_), correlation=0.3)
        clients.append(Client.build(id_, Arrivals.build(rng.uniform(2, 10, 3), family, cv), lengths))
    pool = ClientPool.build("made up", [0, 600, 1200, 1800], clients)
    return pool, generate(pool, seed=seed)


def test_a_trace_with_clients() -> None:
    pool, trace = a_trace()
    fitted = fit_pool(trace, name="again")
    assert fitted.name == "again" and len(fitted.clients) == 10
    runs = [[measures(generate(p, seed=10 + seed)) for seed in range(8)] for p in (fitted, pool)]
    assert_alike(*({key: float(np.mean([run[key] for run in own])) for key in own[0]} for own in runs))
    families = {client.id: client.arrivals for client in fitted.clients}
    right = [
        FAMILIES[code] == ("poisson", "gamma", "weibull")[id_ % 3] for id_ in families for code in families[id_].family
    ]
    assert np.mean(right) > 0.8
    assert fitted.clients[0].lengths[0].correlation == pytest.approx(0.3, abs=0.06)


@pytest.mark.parametrize("family, cv", [("poisson", 1.0), ("gamma", 3.0), ("weibull", 2.5), ("gamma", 0.4)])
def test_family_and_cv_come_back(family: str, cv: float) -> None:
    arrivals = Arrivals.build([1.0], family, None if family == "poisson" else cv)
    times = ArrivalProcess(arrivals, np.array([0.0, 20_000.0]), np.random.default_rng(5)).until(20_000.0)
    code, found = fit_gaps(np.diff(times))
    assert FAMILIES[code] == family and found == pytest.approx(cv, rel=0.05)


def test_ticks_keep_the_sample_cv() -> None:
    gaps = np.tile([0.0, 0, 0, 0, 3], 200)
    assert fit_gaps(gaps) == (GAMMA, pytest.approx(2.0))


def test_few_gaps_take_the_fit_of_all() -> None:
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.gamma(0.25, 4 * 30, 60))  # about 6 in each of ten windows
    fitted = fit_arrivals(times, np.linspace(0, times[-1], 11))
    assert set(fitted.family[fitted.rate_per_s > 0]) <= {GAMMA, WEIBULL}
    assert len(set(fitted.cv[fitted.rate_per_s > 0])) == 1
    alone = fit_arrivals(times[:5], np.array([0.0, times[4] + 1]))
    assert (alone.family[0], alone.cv[0]) == (POISSON, 1.0)


def test_small_clients_share_their_lengths() -> None:
    trace = Workload.build(
        arrival_s=np.arange(300.0),
        input_tokens=np.arange(1, 301),
        output_tokens=np.ones(300, int),
        client=np.arange(300) // 3,
    )
    pool = fit_pool(trace)
    assert len(pool.clients) == 100 and len(pool.clients[0].lengths) == 1


def test_what_a_trace_has_beyond_is_told() -> None:
    trace = Workload.build(arrival_s=[0, 1, 2], input_tokens=[5, 5, 5], output_tokens=[1, 1, 1], session=[0, 0, 1])
    assert any("sessions" in note for note in fit_pool(trace).notes)


def test_lengths_of_busy_clients_are_not_replaced() -> None:
    alike = [Lengths(LogNormal(100 * (1 + 0.01 * i), 1), Exponential(50)) for i in range(20)]
    rates = [100.0] + [0.1] * 18 + [90.0]
    clients = [Client.build(i, Arrivals.build([rates[i]]), alike[i]) for i in range(20)]
    shared = fit_pool(ClientPool.build("p", [0, 600], clients), tolerance=0.05).clients[0].lengths
    assert 2 <= len(shared) < 20


@pytest.mark.parametrize(
    "change, message",
    [
        ({"window_s": 0}, "window_s must be a positive number of seconds, got 0"),
        ({"lengths_s": float("nan")}, "lengths_s must be a positive number of seconds, got nan"),
        ({"tolerance": -1}, "tolerance must be a number from 0 on, got -1"),
    ],
)
def test_bad_parameters(change: dict[str, float], message: str) -> None:
    trace = Workload.build(arrival_s=[0, 1], input_tokens=[5, 5], output_tokens=[1, 1])
    with pytest.raises(WorkloadError, match=message):
        fit_pool(trace, **change)  # type: ignore[arg-type]


def test_what_cannot_be_fitted(tmp_path: Path) -> None:
    at_once = Workload.build(arrival_s=[3, 3], input_tokens=[5, 5], output_tokens=[1, 1])
    with pytest.raises(WorkloadError, match="all requests arrive at one instant"):
        fit_pool(at_once)
    one = Lengths(Exponential(5), Exponential(5))
    with pytest.raises(WorkloadError, match="'p': no client is ever active"):
        fit_pool(ClientPool.build("p", [0, 1], [Client.build(0, Arrivals.build([0]), one)]))
    with pytest.raises(WorkloadError, match="client 3 has empirical gaps"):
        empirical = Arrivals.build([1.0], "empirical", gaps=[1, 2])
        fit_pool(ClientPool.build("p", [0, 1], [Client.build(3, empirical, one)]))
    with pytest.raises(TraceError, match="no such folder"):
        fit_source(tmp_path / "nothing")
    with pytest.raises(TraceError, match="unknown trace format 'servgen'"):
        fit_source(tmp_path, "servgen")
    with pytest.raises(WorkloadError, match="unknown option 'jitter' of format 'servegen'"):
        fit_source(tmp_path, options={"jitter": 1})
