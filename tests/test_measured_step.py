"""Step times from a table of measured steps: recovered from known ones, and refused where the table does not tell."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from hardware_profiles import ProfileError
from hardware_profiles.measured_step import load_measured_step

KNOWN = {  # seconds: weights that are read until compute takes longer, and attention
    "linear_s": lambda tokens: 3e-3 + np.maximum(tokens * 2.2e-5, 5e-3),
    "base_s": lambda decodes: 4e-4 + 1e-6 * decodes,
    "kv_token_s": lambda decodes: 6e-8 + 2e-8 / decodes,
    "own_s": lambda chunk: 6e-4 + 2e-6 * chunk,
    "pair_s": lambda chunk: np.full(len(chunk), 4e-9),
}
BATCHES = 2 ** np.arange(9)
CHUNKS = 2 ** np.arange(13)
DECODE_STEPS = [(batch, batch * context, 0, 0) for batch, context in product(BATCHES, (128, 2048, 32768))]
PREFILL_STEPS = [(0, 0, chunk, context) for chunk, context in product(CHUNKS, (0, 2048, 28672))]
MIXED_STEPS = [
    (batch, batch * 1000, chunk, context) for batch, chunk, context in product((1, 16, 256), (64, 2048), (0, 8192))
]


def step_s(steps, times):
    """The formula, for rows of (decodes, kv_tokens, prefill_tokens, context_tokens)."""
    decodes, kv_tokens, chunk, context = np.array(steps).T
    pairs = context * chunk + chunk * (chunk + 1) / 2
    return (
        times["linear_s"](decodes + chunk)
        + np.where(decodes > 0, times["base_s"](decodes) + times["kv_token_s"](np.maximum(decodes, 1)) * kv_tokens, 0)
        + np.where(chunk > 0, times["own_s"](chunk) + times["pair_s"](chunk) * pairs, 0)
    )


def table_of(steps, noise=0.0):
    table = pd.DataFrame(steps, columns=["decodes", "kv_tokens", "prefill_tokens", "context_tokens"])
    random = np.random.default_rng(0)
    table["tokens"] = table.decodes + table.prefill_tokens
    table["measured_us"] = step_s(steps, KNOWN) * 1e6 * np.exp(noise * random.standard_normal(len(table)))
    return table


@pytest.fixture
def load(tmp_path):
    def from_table(table):
        table.to_csv(tmp_path / "steps.csv", index=False)
        return load_measured_step(tmp_path / "steps.csv")

    return from_table


def other_steps(count, decodes, chunks):
    """Steps off the grid, of up to so many decodes and chunk tokens."""
    random = np.random.default_rng(1)
    batch = random.integers(1, decodes + 1, count) if decodes else np.zeros(count, int)
    chunk = random.integers(1, chunks + 1, count) if chunks else np.zeros(count, int)
    context = random.integers(0, 20000, count) * (chunk > 0)
    return list(zip(batch, batch * random.integers(1, 30000, count), chunk, context, strict=True))


def predicted_s(measured, steps):
    times = measured.step_times(4096, 256, 30000)
    return step_s(steps, {name: vars(times)[name].__getitem__ for name in KNOWN})


@pytest.mark.parametrize("mixed", [[], MIXED_STEPS])
@pytest.mark.parametrize(("decodes", "chunks"), [(256, 0), (0, 4096), (256, 3840)])
def test_known_times_are_recovered_off_the_grid(load, mixed, decodes, chunks):
    steps = other_steps(2000, decodes, chunks)
    error = predicted_s(load(table_of(DECODE_STEPS + PREFILL_STEPS + mixed)), steps) / step_s(steps, KNOWN) - 1
    assert np.median(abs(error)) < 0.01 and abs(error).max() < 0.07  # between two sizes, linear_s has a bend


def test_rows_of_decodes_or_a_chunk_alone_are_met_exactly(load):
    measured = load(table_of(DECODE_STEPS + PREFILL_STEPS))
    assert abs(measured.error).max() < 1e-3
    steps = [step for step in DECODE_STEPS + PREFILL_STEPS if step[1] <= 30000]
    assert predicted_s(measured, steps) == pytest.approx(step_s(steps, KNOWN), rel=1e-3)


def test_noise_is_averaged(load):
    measured = load(table_of(DECODE_STEPS + PREFILL_STEPS + MIXED_STEPS, noise=0.02))
    assert 0.003 < np.median(abs(measured.error)) < 0.02
    steps = other_steps(2000, 256, 3840)
    assert np.median(abs(predicted_s(measured, steps) / step_s(steps, KNOWN) - 1)) < 0.015


def test_what_mixed_steps_tell_apart_is_attention(load):
    """Their decodes and chunks share the weights; without them all that is not by context counts as linear."""
    apart = load(table_of(DECODE_STEPS + PREFILL_STEPS + MIXED_STEPS)).step_times(4096, 256, 30000)
    together = load(table_of(DECODE_STEPS + PREFILL_STEPS)).step_times(4096, 256, 30000)
    assert apart.own_s[2048] + apart.base_s[256] > together.own_s[2048] + together.base_s[256]
    assert together.own_s[4096] == pytest.approx(0, abs=1e-6)


def test_tables_go_from_0_to_the_limits_and_are_never_negative(load):
    times = load(table_of(DECODE_STEPS + PREFILL_STEPS, noise=0.3)).step_times(1000, 100, 1000)
    for name, table in vars(times).items():
        assert len(table) == (101 if name in ("base_s", "kv_token_s") else 1001)
        assert table[0] == 0 and (table >= 0).all()


def test_parquet_is_read_as_csv_is(tmp_path, load):
    table = table_of(DECODE_STEPS + PREFILL_STEPS)
    table.to_parquet(tmp_path / "steps.parquet")
    from_parquet = load_measured_step(tmp_path / "steps.parquet").step_times(4096, 256, 30000)
    assert np.allclose(from_parquet.linear_s, load(table).step_times(4096, 256, 30000).linear_s)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ((4097, 256, 1000), "max_num_batched_tokens is 4097, but the largest measured tokens is 4096; measure larger"),
        ((4096, 257, 1000), "max_num_seqs is 257, but the largest measured decodes is 256"),
        ((4096, 256, 40000), "longest context is 40000, but the largest measured context of one sequence is 32768"),
    ],
)
def test_nothing_is_extrapolated(load, limits, message):
    with pytest.raises(ProfileError, match=rf"steps\.csv: .*{message}"):
        load(table_of(DECODE_STEPS + PREFILL_STEPS)).step_times(*limits)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("measured_us", 0, "row 3: measured_us: expected a time above 0, found 0"),
        ("measured_us", "fast", "row 3: measured_us: expected a number of at least 0, found fast"),
        ("decodes", -1, "row 3: decodes: expected a number of at least 0, found -1"),
        ("kv_tokens", 1.5, "row 3: kv_tokens: expected a whole number, found 1.5"),
        ("tokens", 9, "row 3: tokens: expected decodes [+] prefill_tokens, found 9"),
        ("kv_tokens", 0, "row 3: kv_tokens: expected at least one for each decode request, found 0"),
        ("context_tokens", 5, "row 3: context_tokens: expected 0 without a prefill chunk, found 5"),
    ],
)
def test_a_malformed_row_is_named(load, column, value, message):
    table = table_of(DECODE_STEPS + PREFILL_STEPS).astype(object)
    table.loc[2, column] = value
    with pytest.raises(ProfileError, match=message):
        load(table)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (DECODE_STEPS, "prefill_tokens: expected rows with 1, there is none; nothing is extrapolated"),
        (DECODE_STEPS + PREFILL_STEPS[3:], "prefill_tokens: expected rows with 1, the smallest is 2"),
        (DECODE_STEPS[2:] + PREFILL_STEPS, "decodes 1: expected two kv_tokens or more; they tell a context's time"),
        (
            [*DECODE_STEPS, *PREFILL_STEPS, (256, 5000, 4096, 0)],
            "row 67: tokens: 4352 with both decodes and a chunk, .* has 4096; measure a chunk of 4352 tokens alone",
        ),
    ],
)
def test_a_table_that_leaves_a_part_open_is_refused(load, steps, message):
    with pytest.raises(ProfileError, match=message):
        load(table_of(steps))


def test_what_is_no_such_table_is_refused(tmp_path, load):
    with pytest.raises(ProfileError, match=r"no column 'decodes' \(decode requests, one token each\); did you mean"):
        load(table_of(DECODE_STEPS).rename(columns={"decodes": "decode"}))
    with pytest.raises(ProfileError, match="has no rows"):
        load(table_of(DECODE_STEPS).iloc[:0])
    with pytest.raises(ProfileError, match=r"steps\.txt: expected a table of suffix"):
        load_measured_step(tmp_path / "steps.txt")
    with pytest.raises(ProfileError, match=r"none\.csv: no such file"):
        load_measured_step(tmp_path / "none.csv")
