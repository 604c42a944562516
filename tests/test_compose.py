"""Composition: seeds, rates, chunks, media and reasoning."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from workloads.arrivals import Arrivals
from workloads.clients import NO_LENGTHS, Client, ClientPool
from workloads.compose import generate, generate_chunks, reason_tokens, write_parquet
from workloads.errors import WorkloadError
from workloads.lengths import Empirical, Exponential, Lengths, LogNormal, Media
from workloads.workload import COLUMNS, Workload

IMAGES = Media(Empirical.from_pdf({0: 0.25, 1: 0.25, 3: 0.5}), Empirical.from_pdf({500: 0.5, 700: 0.5}))
TEXT = Lengths(LogNormal(300, 0.7), Exponential(120))
PICTURES = Lengths(Empirical.from_pdf({10: 1.0}), Exponential(80), media={"image": IMAGES})
REASON = Lengths(Exponential(90), Exponential(900), reason_ratio=Empirical.from_pdf({0.25: 0.5, 0.75: 0.5}))
EDGES = [100.0, 700.0, 1300.0, 1900.0]


def client(id: int) -> Client:
    kinds = [
        Client.build(0, Arrivals.build([2.0, 6.0, 1.0], "gamma", [3.0, 1.0, 5.0]), (TEXT, REASON), [0, 1, 0]),
        Client.build(1, Arrivals.build([3.0, 3.0, 3.0], "weibull", 2.0), PICTURES),
        Client.build(2, Arrivals.build([0.0, 4.0, 4.0]), TEXT, [NO_LENGTHS, 0, 0]),
    ]
    return kinds[id]


def pool(*ids: int) -> ClientPool:
    return ClientPool.build("mixed", EDGES, [client(id) for id in ids or (0, 1, 2)])


def same_bytes(one: Workload, other: Workload) -> bool:
    return all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in COLUMNS)


def test_requests_come_in_order_of_time_from_0() -> None:
    workload = generate(pool(), seed=1)
    assert (np.diff(workload.arrival_s) >= 0).all()
    assert workload.arrival_s[0] >= 0 and workload.arrival_s[-1] < 1800
    assert workload.category_names == ("mixed",)
    assert workload.arrival_s[workload.client == 2].min() >= 600


def test_same_seed_same_bytes() -> None:
    assert same_bytes(generate(pool(), seed=4), generate(pool(), seed=4))
    assert same_bytes(generate(pool(), seed=4), generate(pool(2, 0, 1), seed=4))  # whatever the order of the clients
    assert not same_bytes(generate(pool(), seed=4).head(99), generate(pool(), seed=5).head(99))


def test_adding_a_client_leaves_the_others_unchanged() -> None:
    both, alone = generate(pool(0, 2), seed=9), generate(pool(0), seed=9)
    assert same_bytes(both.take(np.flatnonzero(both.client == 0)), alone)


@pytest.mark.parametrize("chunk_requests", [7, 37, 1000, 10**9])
def test_chunks_are_the_same_rows(chunk_requests: int) -> None:
    whole = generate(pool().correlated(0.5), seed=2)
    chunks = list(generate_chunks(pool().correlated(0.5), seed=2, chunk_requests=chunk_requests))
    for name in COLUMNS:
        assert np.concatenate([getattr(chunk, name) for chunk in chunks]).tobytes() == getattr(whole, name).tobytes()
    if chunk_requests == 1000:
        assert max(len(chunk) for chunk in chunks) < 1700 and len(chunks) > 10


def test_parquet(tmp_path) -> None:
    path = tmp_path / "w.parquet"
    rows = write_parquet(path, generate_chunks(pool(), seed=2, chunk_requests=1000))
    assert rows == len(generate(pool(), seed=2))
    assert Workload.from_parquet(path) == generate(pool(), seed=2)
    assert [file.name for file in tmp_path.iterdir()] == ["w.parquet"]


def test_no_file_is_left_when_writing_fails(tmp_path) -> None:
    def broken():
        yield generate(pool(), seed=0)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_parquet(tmp_path / "w.parquet", broken())
    assert not list(tmp_path.iterdir())


def counts(workload: Workload, edges: list[float]) -> np.ndarray:
    return np.histogram(workload.arrival_s, edges)[0]


def test_span_and_scale() -> None:
    n = np.array(
        [counts(generate(pool(), seed=s, start_s=400, duration_s=600, scale=3), [0, 300, 600]) for s in range(60)]
    )
    assert (np.abs(n.mean(axis=0) - [5 * 3 * 300, 13 * 3 * 300]) < 4.5 * n.std(axis=0) / np.sqrt(60)).all()


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (20.0, [12000, 12000, 12000]),
        ({0: 20.0, 900: 10.0}, [12000, 9000, 6000]),
        (lambda t: t / 100, [1800, 5400, 9000]),
    ],
)
def test_rate_of_the_whole(rate, expected: list[float]) -> None:
    n = np.array([counts(generate(pool(), seed=s, rate_per_s=rate), [0, 600, 1200, 1800]) for s in range(40)])
    assert (np.abs(n.mean(axis=0) - expected) < 4.5 * n.std(axis=0) / np.sqrt(40)).all()


def test_rate_keeps_the_shares() -> None:
    workload = generate(pool(), seed=0, rate_per_s=200.0)
    middle = workload.client[(workload.arrival_s >= 600) & (workload.arrival_s < 1200)]
    assert np.bincount(middle) / len(middle) == pytest.approx([6 / 13, 3 / 13, 4 / 13], abs=0.02)


def test_images_add_to_the_input() -> None:
    workload = generate(pool(1), seed=3, scale=20)
    tokens, share = np.unique(workload.input_tokens, return_counts=True)
    # 10 tokens of text, and 0, 1 or 3 images of 500 or 700 tokens
    assert tokens.tolist() == [10, 510, 710, 1510, 1710, 1910, 2110]
    expected = np.array([1 / 4, 1 / 8, 1 / 8, 1 / 16, 3 / 16, 3 / 16, 1 / 16])
    assert share / len(workload) == pytest.approx(expected, abs=5 * np.sqrt(0.25 / len(workload)))


def test_correlation_within_a_client() -> None:
    for correlation in (-0.6, 0.0, 0.8):
        workload = generate(pool(2).correlated(correlation), seed=3, scale=10)
        measured = spearmanr(workload.input_tokens, workload.output_tokens).statistic
        assert measured == pytest.approx(correlation, abs=5 / np.sqrt(len(workload)))


def test_reason_tokens_are_a_part_of_the_output() -> None:
    span = {"start_s": 700.0, "duration_s": 600.0}
    workload = generate(pool(0), seed=1, scale=10, **span)
    tokens = reason_tokens(pool(0), workload, seed=1, start_s=700.0)
    ratio = tokens / workload.output_tokens
    long = workload.output_tokens > 200
    assert np.isclose(ratio[long], 0.25, atol=0.01).mean() == pytest.approx(0.5, abs=0.03)
    assert (np.isclose(ratio[long], 0.25, atol=0.01) | np.isclose(ratio[long], 0.75, atol=0.01)).all()
    with pytest.raises(WorkloadError, match="client 2 has no reason ratio"):
        reason_tokens(pool(2), generate(pool(2), seed=0), seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"duration_s": 0}, "duration_s must be a positive number, got 0"),
        ({"duration_s": np.nan}, "duration_s must be a positive number, got nan"),
        ({"start_s": 0.0}, "no span from 0.0"),
        ({"duration_s": 2000}, "it covers 100.0 to 1900.0 s"),
        ({"scale": -1}, "scale must be a positive number, got -1"),
        ({"scale": 2, "rate_per_s": 3}, "scale or rate_per_s, not both"),
        ({"rate_per_s": -3}, "rate_per_s is -3.0 at 0.0 s"),
        ({"rate_per_s": {0: 1.0, 60: np.nan}}, "rate_per_s is nan at 60.0 s"),
        ({"rate_per_s": {10: 1.0}}, "must begin at 0 s"),
        ({"rate_per_s": {0: 1.0, 60: 2.0, 30: 1.0}}, "in order of time"),
        ({"rate_per_s": {}}, "must begin at 0 s"),
        ({"rate_per_s": 0.0}, "no request arrives"),
    ],
)
def test_errors(options: dict, message: str) -> None:
    with pytest.raises(WorkloadError) as error:
        generate(pool(), seed=0, **options)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_rate_where_nobody_is_active() -> None:
    with pytest.raises(WorkloadError, match=r"no client is active at 100.0 s"):
        generate(pool(2), seed=0, rate_per_s=1.0)
    with pytest.raises(WorkloadError, match="chunk_requests must be at least 1"):
        generate_chunks(pool(), seed=0, chunk_requests=0)
