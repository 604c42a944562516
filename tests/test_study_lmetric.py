"""experiments/lmetric at tiny sizes, and what its README states of LMetric."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments.lmetric import __main__ as study
from experiments.lmetric import every_recipe, failure, published, sources, tables
from experiments.lmetric.runs import KINDS, MODELS, Task, most_per_s, run, run_all
from workloads import BUILTINS

SMALL = 0.1


@pytest.fixture(scope="module")
def chatbot() -> pd.DataFrame:
    rate = most_per_s(MODELS[0], "chatbot", SMALL)
    names = ("vllm", "round-robin", "lmetric")
    return run_all([Task(MODELS[0], "chatbot", 0.5, rate, name, seed, SMALL) for seed in range(2) for name in names])


def test_lmetric_is_better_than_vllm_on_chatbot_at_half_load(chatbot: pd.DataFrame) -> None:
    means = chatbot.groupby("router")[["ttft_mean_s", "tpot_mean_s"]].mean()
    assert (means.loc["lmetric"] < means.loc["vllm"]).all()


@pytest.mark.parametrize("workload", sources.SHIPPED)
def test_lmetric_is_not_worse_than_round_robin_in_mean_ttft(workload: str) -> None:
    rate = most_per_s(MODELS[0], workload, SMALL)
    ours, theirs = (
        run(Task(MODELS[0], workload, 0.5, rate, name, 0, SMALL))["ttft_mean_s"] for name in ("lmetric", "round-robin")
    )
    assert ours < theirs


def test_changes_are_paired_by_seed(chatbot: pd.DataFrame) -> None:
    of = {name: chatbot[chatbot.router == name].ttft_mean_s.to_numpy() for name in ("lmetric", "vllm")}
    interval, percent = tables.change(chatbot, "lmetric", "vllm", "ttft_mean_s")
    assert interval.mean == pytest.approx((of["lmetric"] - of["vllm"]).mean())
    assert percent == pytest.approx(100 * (of["lmetric"].mean() / of["vllm"].mean() - 1))


def test_every_recipe_that_ships_is_there() -> None:
    assert {recipe.name for recipe in sources.SHIPPED.values()} == set(BUILTINS)


def test_who_meets_the_prefill_of_another() -> None:
    requests = pd.DataFrame(
        {
            "instance": [0, 0, 0, 1, 1],
            "arrival_s": [0.0, 1.0, 5.0, 2.0, 3.0],
            "first_token_s": [2.0, 4.0, 6.0, 3.0, 4.0],
        }
    )
    assert every_recipe.share_that_meets(requests) == 1 / 5  # the second: at 3 s the first token is there


def test_vllm_meets_more_prefills_than_taking_turns_on_rag() -> None:
    """Why its mean TTFT is the higher one there."""
    rate = 0.5 * most_per_s(MODELS[0], "rag", SMALL)
    met = {name: every_recipe.met(MODELS[0], "rag", name, rate, SMALL) for name in every_recipe.ROUTERS}
    assert met["vllm"]["meets"] > 3 * met["round-robin"]["meets"] > 3 * met["lmetric"]["meets"]


@pytest.mark.parametrize("workload", ["chatbot", "coder"])
def test_a_recipe_comes_at_the_rate_that_is_asked_for(workload: str) -> None:
    rates = [sources.steady_per_s(sources.at_rate(workload, 20.0, seed, 0.2)) for seed in range(3)]
    assert np.mean(rates) == pytest.approx(20.0, rel=0.15)


def test_a_crowd_comes_at_once() -> None:
    assert np.nanmax(sources.crowd("chatbot", SMALL).arrival_s) < 0.01


def test_hit_ratio_chooses_as_new_tokens_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why the ablation stands for both: only the queue is missing."""
    rate = most_per_s(MODELS[0], "api", SMALL)
    monkeypatch.setitem(KINDS, "new tokens", "score: new_tokens * (batch + 1)")
    ratio, tokens = (run(Task(MODELS[0], "api", 0.5, rate, name, 0, SMALL)) for name in ("hit ratio", "new tokens"))
    assert ratio["ttft_mean_s"] == pytest.approx(tokens["ttft_mean_s"], rel=0.01)


def test_the_guard_ends_the_failure_case() -> None:
    plain, guarded = (failure.over_time(router, 40.0).iloc[1:] for router in ("lmetric", "lmetric-guarded"))
    assert plain.busiest.mean() > 3 * guarded.busiest.mean()
    assert plain.tpot_s.max() > 3 * guarded.tpot_s.max()


def test_the_study_writes_its_tables_and_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "TRACES", tmp_path / "absent")
    monkeypatch.setattr(study, "MODELS", MODELS[:1])
    study.main(tmp_path, seeds=(0, 1), size=0.02, loads=(0.25, 0.5), failure_s=20.0, more_seeds=(0, 1))
    figures = {"sweep.png", "failure.png", "every-recipe.png"} | {f"half-load-{MODELS[0]}.png"}
    assert {path.name for path in tmp_path.iterdir()} == {"tables.md", "runs.csv"} | figures
    printed = capsys.readouterr().out
    assert "the study goes without conversation" in printed
    assert "| chatbot | vllm | ttft mean | -92 % |" in printed
    assert all(f"| {recipe} |" in printed for recipe in sources.SHIPPED)
    assert set(pd.read_csv(tmp_path / "runs.csv").router) == set(KINDS)


@pytest.mark.skipif(not (sources.TRACES / "mooncake_conversation_trace.jsonl.gz").is_file(), reason="no ../shared/data")
def test_lmetric_is_better_than_vllm_on_the_published_conversations() -> None:
    rate = most_per_s(MODELS[0], "conversation", SMALL)
    ours, theirs = (run(Task(MODELS[0], "conversation", 0.5, rate, name, 0, SMALL)) for name in ("lmetric", "vllm"))
    assert ours["ttft_mean_s"] < theirs["ttft_mean_s"]


def test_every_published_change_is_of_a_router_of_the_study() -> None:
    assert {change.against for change in published.CHANGES} <= set(KINDS)
