"""What is told of a workload, against known processes and a plain count of every block."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from workloads import Workload, WorkloadError, generate, load
from workloads.characterize import compare, comparison_table, describe, plot_comparison, write_report
from workloads.characterize.plots import FIGURES
from workloads.naive import naive
from workloads.nominal import nominal_arrival_s

TRACES = Path(__file__).parents[2] / "shared" / "data" / "traces"


def renewal(gaps: np.ndarray) -> Workload:
    times = np.cumsum(gaps)
    return Workload.build(arrival_s=times, input_tokens=np.full(len(gaps), 7), output_tokens=np.full(len(gaps), 3))


# --- arrivals and gaps ---


def test_a_poisson_process_looks_like_one():
    description = describe(renewal(np.random.default_rng(0).exponential(0.02, 200_000)))
    arrivals = description.arrivals
    assert arrivals.mean_rate_per_s == pytest.approx(50, rel=0.01)
    assert arrivals.gap_cv == pytest.approx(1, abs=0.01)
    # With B bins the index has a standard deviation of about sqrt(2 / B); B is 4000, 400 and 66.
    for bin_s, bins in ((1, 4000), (10, 400), (60, 66)):
        assert abs(arrivals.dispersion[bin_s] - 1) < 4 * (2 / bins) ** 0.5
    assert arrivals.window_s == 20
    assert np.nanmean(arrivals.window_cv) == pytest.approx(1, abs=0.02)
    fits = {fit.family: fit for fit in description.gaps.fits}
    assert fits["exponential"].ks < 1.6 / 200_000**0.5
    assert fits["gamma"].shape == pytest.approx(1, abs=0.02)
    assert fits["weibull"].shape == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("family", "law"), [("gamma", stats.gamma(0.3, scale=2)), ("weibull", stats.weibull_min(0.6))])
def test_the_family_of_the_gaps_is_found(family: str, law):
    workload = renewal(law.rvs(20_000, random_state=1))
    best = describe(workload).gaps.fits[0]
    assert best.family == family
    gaps = np.diff(workload.arrival_s)
    used = gaps[gaps > 0]  # the smallest ones are lost in the rounding of times
    assert best.shape == pytest.approx(law.args[0], rel=0.03)
    frozen = getattr(stats, "weibull_min" if family == "weibull" else family)(best.shape, scale=best.scale_s)
    assert best.log_likelihood == pytest.approx(frozen.logpdf(used).sum(), rel=1e-4)
    assert best.ks == pytest.approx(stats.kstest(used, frozen.cdf).statistic, rel=1e-4)
    assert best.ks < 0.012


def test_rates_and_dispersion_of_a_rate_that_changes():
    times = np.concatenate((np.arange(0, 100, 1.0), np.arange(100, 200, 0.1), [205.0]))
    workload = Workload.build(arrival_s=times, input_tokens=np.full(1101, 1), output_tokens=np.full(1101, 1))
    arrivals = describe(workload, window_s=50).arrivals
    assert arrivals.rate_per_s[:4].tolist() == pytest.approx([1, 1, 10, 10], rel=0.02)
    assert np.isnan(arrivals.rate_per_s[4])  # covered for 5 s of 50
    assert arrivals.window_cv[1] == pytest.approx(0, abs=1e-6)
    counts = np.array([10] * 10 + [100] * 10)
    assert arrivals.dispersion[10] == pytest.approx(counts.var() / counts.mean(), rel=0.01)
    assert arrivals.peak_to_mean[10] == pytest.approx(100 / 55, rel=0.02)
    assert np.isnan(arrivals.dispersion[60])  # 3 whole bins are too few


def test_arrivals_at_one_instant():
    one = Workload.build(arrival_s=[3.0] * 3, input_tokens=[1, 2, 3], output_tokens=[1, 1, 1])
    description = describe(one)
    assert np.isnan(description.arrivals.mean_rate_per_s)
    assert description.gaps.zero_share == 1
    assert description.gaps.fits == ()
    assert description.clients is None and description.conversations is None
    assert np.isnan(description.input_output_rank_correlation)
    json.loads(description.to_json())


# --- lengths, clients, conversations ---


def test_lengths_and_their_drift():
    rng = np.random.default_rng(0)
    inputs = np.concatenate((rng.integers(1, 100, 3000), rng.integers(1000, 2000, 3000)))
    workload = Workload.build(
        arrival_s=np.arange(6000) * 0.1, input_tokens=inputs, output_tokens=6001 - np.arange(6000)
    )
    description = describe(workload, window_s=300)
    lengths = description.input
    assert lengths.mean == pytest.approx(inputs.mean())
    assert lengths.quantiles["p99"] == np.quantile(inputs, 0.99)
    assert lengths.window_mean.tolist() == pytest.approx([inputs[:3000].mean(), inputs[3000:].mean()])
    assert lengths.window_quantiles["p90"][1] == np.quantile(inputs[3000:], 0.9, method="inverted_cdf")
    assert lengths.cdf[-1] == 1
    at = lengths.cdf_tokens[50]
    assert lengths.cdf[50] == (inputs <= at).mean()
    rank = stats.spearmanr(inputs, workload.output_tokens).statistic
    assert description.input_output_rank_correlation == pytest.approx(rank)


def test_client_skew():
    client = np.repeat([4, 7, 1, 9, -1], [80, 12, 5, 3, 50])
    workload = Workload.build(
        arrival_s=np.arange(150.0), input_tokens=np.full(150, 1), output_tokens=np.full(150, 1), client=client
    )
    clients = describe(workload).clients
    assert clients is not None
    assert (clients.count, clients.for_90_percent) == (4, 2)
    assert clients.top_share == {1: 0.8, 10: 1.0, 100: 1.0}
    assert clients.lorenz_requests == pytest.approx([0, 0.03, 0.08, 0.2, 1])
    pairs = np.abs(np.subtract.outer([80, 12, 5, 3], [80, 12, 5, 3])).mean()
    assert clients.gini == pytest.approx(pairs / 2 / 25)


def test_turns():
    workload = Workload.build(
        arrival_s=[0.0, 10.0, 40.0, 1.0, 2.0, 22.0],
        input_tokens=[1] * 6,
        output_tokens=[1] * 6,
        session=[5, 5, 5, 6, 8, 8],
    )
    talks = describe(workload).conversations
    assert talks is not None
    assert (talks.count, talks.mean_turns, talks.multi_turn_share) == (3, 2.0, pytest.approx(2 / 3))
    assert (talks.turns.tolist(), talks.sessions.tolist()) == ([1, 2, 3], [1, 1, 1])
    assert talks.next_turn.tolist() == pytest.approx([2 / 3, 1 / 2])
    assert talks.between_turns_s["p50"] == 20


# --- reuse ---


def counted(workload: Workload, block_tokens: int) -> tuple[int, dict[str, list[float]], list[float]]:
    """Hits, reuse times by category and lives of all blocks, one block after another."""
    paths: list[list[tuple[int, int]]] = []
    for row in range(len(workload)):
        other, shared = workload.prefix_request[row], workload.prefix_tokens[row]
        length = int(workload.input_tokens[row] + workload.output_tokens[row])
        paths.append((paths[other][:shared] if other >= 0 else []) + [(row, at) for at in range(shared, length)])
    arrival_s = nominal_arrival_s(workload)
    first: dict[tuple[int, int], float] = {}
    last: dict[tuple[int, int], float] = {}
    times: dict[str, list[float]] = defaultdict(list)
    for row in np.argsort(arrival_s, kind="stable"):
        for end in range(block_tokens, len(paths[row]) + 1, block_tokens):
            block = paths[row][end - 1]  # a token and all before it are known by who was the first to have it
            if block in last and end <= workload.input_tokens[row]:
                name = workload.category_names[workload.category[row]]
                times[name].append(arrival_s[row] - last[block])
            first.setdefault(block, arrival_s[row])
            last[block] = arrival_s[row]
    return sum(map(len, times.values())), times, [last[block] - first[block] for block in first]


def mixed() -> Workload:
    """Two chats with categories, with rows that are not in order of time."""
    chat = generate("chatbot", 5, {"requests": 80, "clients": 3})
    columns = {
        name: getattr(chat, name) for name in ("session", "parent", "prefix_request", "prefix_tokens", "think_s")
    }
    return Workload.build(
        arrival_s=chat.arrival_s,
        input_tokens=chat.input_tokens,
        output_tokens=chat.output_tokens,
        category=np.arange(80) % 2,
        category_names=["even", "odd"],
        **columns,
    )


@pytest.mark.parametrize("block_tokens", [1, 16, 100])
def test_reuse_is_what_a_plain_count_says(block_tokens: int):
    workload = mixed()
    hits, times, lives = counted(workload, block_tokens)
    reuse = describe(workload, block_tokens=block_tokens).reuse
    assert reuse.hit_ratio == pytest.approx(hits * block_tokens / workload.input_tokens.sum())
    assert reuse.blocks == len(lives)
    for q in (50, 90, 99):
        assert reuse.life_s[f"p{q}"] == pytest.approx(np.quantile(lives, q / 100, method="inverted_cdf"))
    assert reuse.reuse_times.keys() == times.keys()
    for name, of in reuse.reuse_times.items():
        assert of.hits == len(times[name])
        for q in (10, 50, 80, 90, 99):
            exact = np.quantile(times[name], q / 100, method="inverted_cdf")
            assert exact <= of.quantiles_s[f"p{q}"] * (1 + 1e-9) <= max(exact, 1e-3) * 1.05
        for seconds, share in of.within.items():
            exact = np.array(times[name])
            assert (exact <= seconds * 0.954).mean() <= share <= (exact <= seconds * (1 + 1e-9)).mean()


def test_live_blocks():
    workload = Workload.build(
        arrival_s=[0.0, 12.0, 25.0, 39.0],
        input_tokens=[48, 40, 32, 20],
        output_tokens=[1, 1, 1, 1],
        prefix_request=[-1, 0, 0, -1],
        prefix_tokens=[0, 20, 32, 0],
    )
    reuse = describe(workload, block_tokens=16, window_s=10).reuse
    # Blocks 0 and 1 of row 0 are used at 0 and 25 s, block 0 also at 12 s.
    assert reuse.live_blocks.tolist() == [2, 2, 0, 0]
    assert reuse.block_hit_ratio == pytest.approx(3 / 8)
    assert reuse.reuse_times["default"].hits == 3


@pytest.mark.skipif(not TRACES.is_dir(), reason="no published traces at ../shared/data/traces")
def test_hits_of_a_published_trace():
    reference = json.loads((TRACES / "reference_prefix_hits.json").read_text())["mooncake_conversation"]["infinite"]
    trace = load(TRACES / "mooncake_conversation_trace.jsonl.gz", "mooncake")
    description = describe(trace, block_tokens=512)
    # The reference counts partly filled blocks as well.
    assert reference["token_hit_ratio"] - 0.001 < description.reuse.hit_ratio <= reference["token_hit_ratio"]
    assert description.gaps.zero_share > 0.85


# --- as a whole ---


def test_reports(tmp_path):
    description = describe(mixed())
    write_report(description, tmp_path / "d.json", "mixed")
    back = json.loads((tmp_path / "d.json").read_text())
    assert back["summary"]["requests"] == 80
    assert back["arrivals"]["dispersion"]["60"] is None or back["arrivals"]["dispersion"]["60"] > 0
    assert set(back["reuse"]["reuse_times"]) == {"even", "odd"}
    write_report(description, tmp_path / "d.html", "a <b> & c")
    page = (tmp_path / "d.html").read_text()
    assert "<h1>a &lt;b&gt; &amp; c</h1>" in page
    assert page.count('src="data:image/png;base64,') == len(FIGURES)
    assert "http" not in page
    write_report(description, tmp_path / "d.png", "mixed")
    assert (tmp_path / "d.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(WorkloadError, match=r"unknown kind of report '.htm'; did you mean '.html'\?"):
        write_report(description, tmp_path / "d.htm", "mixed")


def test_the_headline_is_of_names_and_values():
    lines = dict(describe(mixed()).headline())
    assert lines["requests"] == "80"
    assert lines["follow-ups, at nominal times"] == str((mixed().parent >= 0).sum())
    assert lines["input tokens"].startswith("mean ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block_tokens": 0}, "block_tokens must be at least 1, got 0"),
        ({"window_s": 0.0}, "window_s must be a positive number, got 0.0"),
        ({"window_s": float("nan")}, "window_s must be a positive number, got nan"),
    ],
)
def test_bad_parameters(options: dict, message: str):
    with pytest.raises(WorkloadError, match=message):
        describe(mixed(), **options)


def test_comparison(tmp_path):
    """Batches of eight have eight times the dispersion of one by one; a naive gamma process has not."""
    starts = np.cumsum(np.random.default_rng(0).exponential(0.8, 4000))
    batches = Workload.build(
        arrival_s=np.repeat(starts, 8) + np.tile(np.arange(8) * 0.01, 4000),
        input_tokens=np.full(32_000, 100),
        output_tokens=np.full(32_000, 10),
    )
    both = {"batches": batches, "poisson": naive(batches, "poisson", 0)}
    comparison = compare(both)
    assert comparison.loc["rate, 1/s", "poisson"] == pytest.approx(comparison.loc["rate, 1/s", "batches"], rel=0.03)
    assert comparison.loc["dispersion, 10 s", "batches"] == pytest.approx(8, rel=0.3)
    assert comparison.loc["dispersion, 10 s", "poisson"] == pytest.approx(1, rel=0.3)
    assert comparison.loc["input p99.9, tokens", "poisson"] == 100
    table = comparison_table(comparison)
    assert table.startswith("| | batches | poisson |\n|---|---|---|\n| requests | 32,000 |")
    plot_comparison(both, tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
