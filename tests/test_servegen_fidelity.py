"""One hour at peak and one at night, regenerated from ServeGen's folders, against what their files say.

The files are read here a second time, by other means. The tests:

* shares: a renewal count over a time in which Lambda requests are expected has the variance cv^2 Lambda, to first
  order. Where Lambda is at least 30 cv^2, shares divided by their standard deviation are normal; their sum of squares
  must not be improbable (chi-square, 1e-4 on either side), and none may be beyond 5.
* CV per window: the sample CV of a short window is biased and heavy-tailed, so it is ranked among those of REPLICATES
  windows cut out of long renewal processes that NumPy draws with the CV of the file. Ranks must be uniform
  (Kolmogorov-Smirnov, 1e-4). Where the sample CV is sharp, the median must also be within 5 % of the file's.
* lengths: for each client, a two-sample Kolmogorov-Smirnov test against draws from the file's PDF (1e-4 over all
  clients, Bonferroni). Quantiles of all clients together must have the wanted rank in the file's mixture, within the
  Dvoretzky-Kiefer-Wolfowitz band of 1e-6.
"""

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import gamma
from scipy.stats import chi2, ks_2samp, kstest, spearmanr

from workloads.arrivals import gap_shapes
from workloads.clients import ClientPool
from workloads.compose import generate, generate_chunks
from workloads.lengths import Empirical
from workloads.servegen import read_servegen

DATA = Path(__file__).parents[2] / "shared/data/servegen"
POOLS = ["language/m-large", "language/m-small", "reason/deepseek-r1", "multimodal/mm-image"]
REPLICATES = 39
REFERENCE = 50_000  # draws from a file's PDF

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="ServeGen's data is not at hand")


@dataclass
class Hour:
    """What the files say about an hour, and a regenerated one. Arrays are by client of the pool and window."""

    folder: Path
    pool: ClientPool  # of this hour
    rate_per_s: NDArray[np.float64]
    cv: NDArray[np.float64]
    weibull: NDArray[np.bool_]
    arrival_s: NDArray[np.float64]
    client: NDArray[np.int64]  # position in the pool
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module", params=[(pool, when) for pool in POOLS for when in ("peak", "night")], ids=str)
def hour(request: pytest.FixtureRequest) -> Hour:
    name, when = request.param
    pool = read_servegen(DATA / name, "borrow")
    hourly = pool.rate_per_s[:144].reshape(24, 6).mean(axis=1)  # the first day
    start_s = 3600.0 * (hourly.argmax() if when == "peak" else hourly.argmin())
    part = pool.span(start_s, start_s + 3600)
    ids = np.array([client.id for client in part.clients])
    columns = ("arrival_s", "client", "input_tokens", "output_tokens")
    chunks = [[getattr(chunk, column) for column in columns] for chunk in generate_chunks(part, seed=20)]
    arrival_s, client, input_tokens, output_tokens = (np.concatenate(c) for c in zip(*chunks, strict=True))
    trace = [_trace(DATA / name, id_, start_s) for id_ in ids]
    rate, cv, weibull = (np.array([[row[i] for row in rows] for rows in trace]) for i in (1, 2, 3))
    where = np.zeros(ids.max() + 1, np.int64)
    where[ids] = np.arange(len(ids))
    return Hour(
        DATA / name,
        part,
        rate.astype(float),
        cv.astype(float),
        weibull == "Weibull",
        arrival_s,
        where[client],
        input_tokens,
        output_tokens,
    )


def _trace(folder: Path, id: int, start_s: float) -> list[list[str]]:
    lines = (folder / f"chunk-{id}-trace.csv").read_text().split()
    rows = [line.split(",") for line in lines]
    return [row for row in rows if start_s <= float(row[0]) < start_s + 3600]


def test_shares(hour: Hour) -> None:
    expected = hour.rate_per_s * 600
    variance = (hour.cv**2 * expected).sum(axis=1)
    total = expected.sum()
    share = expected.sum(axis=1) / total
    deviation = np.sqrt((1 - 2 * share) * variance + share**2 * variance.sum()) / total
    count = np.bincount(hour.client, minlength=len(share))
    normal = expected.sum(axis=1) >= 30 * np.maximum(hour.cv, 1).max(axis=1) ** 2
    z = ((count / len(hour.client) - share) / np.where(deviation > 0, deviation, 1))[normal]
    assert np.abs(z).max() < 5
    assert 1e-4 < chi2.cdf((z**2).sum(), len(z)) < 1 - 1e-4
    assert share[normal].sum() > 0.5
    assert abs(len(hour.client) - total) < 5 * np.sqrt(variance.sum())


def test_cv_per_window(hour: Hour) -> None:
    rng = np.random.default_rng(0)
    shape = np.stack([gap_shapes(client.arrivals) for client in hour.pool.clients])
    expected = hour.rate_per_s * 600
    cells = np.argwhere((expected >= 100) & (expected <= 30_000))
    cells = cells[rng.permutation(len(cells))[:80]]
    window = (hour.arrival_s // 600).astype(int)
    ranks, ratios = [], []
    for c, w in cells:
        own = _sample_cv(hour.arrival_s[(hour.client == c) & (window == w)])
        cv, weibull = hour.cv[c, w], hour.weibull[c, w]
        others = [_reference_cv(rng, expected[c, w], cv, weibull, shape[c, w]) for _ in range(REPLICATES)]
        below, ties = np.sum(np.array(others) < own), np.sum(np.array(others) == own)
        ranks.append((below + rng.random() * (1 + ties)) / (REPLICATES + 1))
        if cv < 1.5 and expected[c, w] > 300:
            ratios.append(own / cv)
    assert len(ranks) >= 10
    assert kstest(ranks, "uniform").pvalue > 1e-4
    assert np.median(ratios) == pytest.approx(1, abs=0.05)


def _sample_cv(arrival_s: NDArray[np.float64]) -> float:
    gaps = np.diff(arrival_s)
    return float(gaps.std() / gaps.mean()) if len(gaps) > 1 and gaps.mean() > 0 else -1.0


def _reference_cv(rng: np.random.Generator, expected: float, cv: float, weibull: bool, shape: float) -> float:
    """The sample CV of a window cut out of a long renewal process of mean gap 1."""
    before = 50 * (1 + cv**2)  # mean gaps after which the start is forgotten
    parts, reached = [], 0.0
    while reached < before + expected:
        size = int(2 * expected + before)
        drawn = rng.weibull(shape, size) / gamma(1 + 1 / shape) if weibull else rng.gamma(shape, 1 / shape, size)
        parts.append(reached + np.cumsum(drawn))
        reached = parts[-1][-1]
    times = np.concatenate(parts)
    return _sample_cv(times[(times >= before) & (times < before + expected)])


def test_lengths(hour: Hour) -> None:
    rng = np.random.default_rng(1)
    checks, mixtures = [], {"input": [], "output": []}
    start_s = hour.pool.edges_s[0]
    for c, client in enumerate(hour.pool.clients):
        rows = np.flatnonzero(hour.client == c)
        file = hour.folder / f"chunk-{client.id}-dataset.json"
        if not len(rows) or not file.exists():
            continue
        entries = json.loads(file.read_text())
        assert len({max(float(k) for k in entries if float(k) <= t) for t in (start_s, start_s + 3599)}) == 1
        entry = entries[max((k for k in entries if float(k) <= start_s), key=float)]
        pdfs = {field: ast.literal_eval(text) for field, text in entry.items()}
        for what, values in (("input", hour.input_tokens[rows]), ("output", hour.output_tokens[rows])):
            reference = np.maximum(_reference(rng, pdfs, what), 1)
            if len(rows) >= 100:
                checks.append(ks_2samp(values, reference, method="asymp").pvalue)
            if f"{what}_tokens" in pdfs:
                mixtures[what].append((values, pdfs[f"{what}_tokens"]))
    assert min(checks) > 1e-4 / len(checks)
    for parts in mixtures.values():
        if parts:
            _check_quantiles(parts)


def _reference(rng: np.random.Generator, pdfs: dict[str, dict[float, float]], what: str) -> NDArray[np.float64]:
    def draw(field: str, size: int) -> NDArray[np.float64]:
        p = np.array(list(pdfs[field].values()))
        return rng.choice(list(pdfs[field]), size, p=p / p.sum())

    if what == "output" or "text_tokens" not in pdfs:
        return draw(f"{what}_tokens", REFERENCE)
    assert pdfs["audio_count"] == pdfs["video_count"] == {0: 1.0}
    images = draw("image_count", REFERENCE).astype(int)
    total = draw("text_tokens", REFERENCE).astype(float)
    for n in range(images.max()):  # the n-th image, for those that have one
        total[images > n] += draw("image_tokens", int((images > n).sum()))
    return total


def _check_quantiles(parts: list[tuple[NDArray[np.int64], dict[float, float]]]) -> None:
    values = np.concatenate([own for own, _ in parts])
    mixture = Empirical.pooled([Empirical.from_pdf(pdf) for _, pdf in parts], [len(own) for own, _ in parts])
    band = np.sqrt(np.log(2 / 1e-6) / 2 / len(values))
    for p in (0.1, 0.25, 0.5, 0.75, 0.9, 0.99):
        q = np.quantile(values, p, method="inverted_cdf")
        at_most, below = mixture.cdf(np.array([q])), mixture.cdf(np.array([q - 0.5]))
        assert below - band <= p <= at_most + band, p


def test_rank_correlation_is_as_configured() -> None:
    pool = read_servegen(DATA / "language/m-large", "borrow").span(36000, 39600)
    for configured in (0.0, 0.6):
        workload = generate(pool.correlated(configured), seed=3)
        measured = []
        for client in np.flatnonzero(np.bincount(workload.client) > 10_000):
            x, y = (column[workload.client == client] for column in (workload.input_tokens, workload.output_tokens))
            commonest = max(np.unique(column, return_counts=True)[1].max() for column in (x, y))
            if commonest < 0.15 * len(x):  # ties blur the ranks
                measured.append(spearmanr(x, y).statistic)
        assert len(measured) >= 5
        assert measured == pytest.approx([configured] * len(measured), abs=0.03)
