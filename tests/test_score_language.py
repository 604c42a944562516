"""Policies from formulas."""

from dataclasses import replace

import numpy as np
import pytest
from harness import assert_same, examples, outcomes
from hypothesis import given
from oracle.scenarios import Scenario, scenarios
from router_states import Choice
from test_signals import run_late

from sim.errors import SimError
from sim.kernel.router_memory import RouterMemory
from sim.score_language import FUNCTIONS, INDICATORS

LMETRIC = "(queued_prefill + new_tokens) * (batch + 1)"
SEEN = {
    "waiting": [1, 0, 3],
    "running": [2, 6, 0],
    "queued_prefill": [30, 0, 7],
    "decode_kv": [5, 40, 0],
    "blank": [900, 800, 1000],
    "hits": [40, 90, 0],
}
VALUES = {
    "queued": SEEN["waiting"],
    "running": SEEN["running"],
    "batch": [3, 6, 3],
    "queued_prefill": SEEN["queued_prefill"],
    "input_tokens": [100, 100, 100],
    "hit_tokens": SEEN["hits"],
    "new_tokens": [60, 10, 100],
    "decode_kv": SEEN["decode_kv"],
    "pool_hit_tokens": [0, 0, 0],
    "kv_used": [0.1, 0.2, 0.0],
    "weight": [1, 1, 1],
}


@examples(60)
@given(scenarios())
def test_the_formula_of_lmetric_is_lmetric(scenario: Scenario) -> None:
    scenario = replace(scenario, router="round-robin")
    compiled = run_late(scenario, "lmetric", RouterMemory())
    by_formula = run_late(scenario, "score", RouterMemory(), {"formula": LMETRIC})
    assert_same(outcomes(by_formula), outcomes(compiled))


@pytest.mark.parametrize(
    "formula",
    [
        *INDICATORS,
        *(f"-{name}" for name in INDICATORS),
        "queued + running - batch ** 2 / 7",
        "new_tokens // 7 % 4 + kv_used",
        "min(queued, running, 2) - max(decode_kv, 6) * .1 + abs(queued - running)",
        "queued if kv_used > 0.15 or hit_tokens == 0 else running * 100",
        "(1 < queued <= 3) + (not running)",
        "queued > 0 and hit_tokens < 50",
        "1 / queued",
        "-(queued > 0) + abs(running > 2) ** 2 - (1 != 2) // 2 + min(batch > 3, 0.5)",
        "not (queued or running) or batch",
        "3",
    ],
)
def test_a_formula_means_what_python_means(formula: str) -> None:
    values = []
    for i in range(3):
        names = {name: float(column[i]) for name, column in VALUES.items()}
        try:
            values.append(float(eval(formula, {}, names)))
        except ZeroDivisionError:
            values.append(np.inf)
    lowest = {i for i in range(3) if values[i] == min(values)}
    assert Choice("score", {"formula": formula}).see(**SEEN).often() == lowest


def test_no_number_is_an_error() -> None:
    assert Choice("score", {"formula": "queued / running"}).of() == -1
    assert Choice("score", {"formula": "(queued - 2) ** 0.5"}).of() == -1


WRONG: dict[str, str] = {
    "queued_prefil + 1": r"^score: indicator: 'queued_prefil' is unknown; did you mean queued_prefill",
    "batch_size": r"unknown; did you mean batch",
    "sqrt(batch)": r"^score: function: 'sqrt' is unknown; known: abs, max, min",
    "().__class__": r"^score: .*is not in the language",
    "batch.real": r"is not in the language",
    "batch[0]": r"is not in the language",
    "lambda: batch": r"is not in the language",
    "[batch for batch in (1, 2)]": r"is not in the language",
    "(x := 3)": r"is not in the language",
    "batch @ 2": r"is not in the language",
    "batch << 2": r"is not in the language",
    "batch is queued": r"is not in the language",
    "'a'": r"^score: 'a' is no number",
    "True + batch": r"^score: True is no number",
    "1j": r"^score: 1j is no number",
    "__import__('os').system('true')": r"^score: function: .* is unknown",
    "min(batch)": r"^score: min takes two arguments or more",
    "min(*(1, 2))": r"^score: min takes two",
    "abs(batch, 2)": r"^score: abs takes one",
    "max(batch, 1, key=abs)": r"^score: max takes two",
    "batch +": r"^score: 'batch \+' is no formula; for example",
    "": r"is no formula",
    "batch\nqueued": r"is no formula",
    "(" * 300 + "batch" + ")" * 300: r"is no formula",
    "batch + " * 500 + "1": r"^score: the formula has 4,001 characters; use at most 1,000",
    "-" * 990 + "batch": r"^score: ",
    "batch + 1" + "0" * 400: r"is no formula",
    "min": r"^score: indicator: 'min' is unknown",
}


@pytest.mark.parametrize(("formula", "message"), WRONG.items(), ids=range(len(WRONG)))
def test_what_is_not_in_the_language(formula: str, message: str) -> None:
    with pytest.raises(SimError, match=message) as raised:
        Choice("score", {"formula": formula})
    assert "\n" not in str(raised.value)


def test_huge_powers_are_not_computed_beforehand() -> None:
    formula = "9 ** 9 ** 9 ** 9 ** 9 + batch"
    assert Choice("score", {"formula": formula}).often() == {0, 1, 2}


def test_the_table_of_values_covers_the_language() -> None:
    assert VALUES.keys() == INDICATORS.keys()
    assert set(FUNCTIONS) == {"min", "max", "abs"}


def test_a_formula_is_compiled_once() -> None:
    first, second = (Choice("score", {"formula": "batch"}) for _ in range(2))
    assert first.router is second.router
