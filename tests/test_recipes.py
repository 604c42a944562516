"""The recipes against the figures that they follow; docs/recipes.md has the tables."""

from functools import cache
from typing import Any

import numpy as np
import pytest

from workloads import BUILTINS, WorkloadError, generate
from workloads.characterize import describe
from workloads.characterize.description import Description
from workloads.compose import generate as compose
from workloads.compose import reason_tokens

# Long enough for the figures to settle.
DURATION_S = {"chatbot": 7200.0, "coder": 20_000.0}
BLOCK_TOKENS = {"toolagent": 512, "coder": 64}


@cache
def described(name: str) -> Description:
    workload = generate(name, 0, {"duration_s": DURATION_S.get(name, 1800.0)})
    return describe(workload, block_tokens=BLOCK_TOKENS.get(name, 16))


def test_the_recipes_are_there():
    assert set(BUILTINS) == {"api", "chatbot", "coder", "multimodal", "rag", "reasoning", "toolagent"}
    assert all(recipe.description for recipe in BUILTINS.values())


@pytest.mark.parametrize("name", BUILTINS)
def test_rows_follow_the_seed_and_more_of_them_change_none(name: str):
    few, again = (generate(name, 2, {"requests": 100}) for _ in range(2))
    assert len(few) == 100 and few == again
    assert few != generate(name, 3, {"requests": 100})
    assert generate(name, 2, {"requests": 900}).head(100) == few


@pytest.mark.parametrize("name", BUILTINS)
def test_the_rate_is_the_one_asked_for(name: str):
    workload = generate(name, 0, {"rate_per_s": 50.0, "duration_s": 1000.0})
    spread = 0.15 if name == "coder" else 0.06
    assert len(workload) / 1000 == pytest.approx(50, rel=spread)


def test_chatbot():
    """KVCache Cache in the Wild, trace A, and ServeGen."""
    chat = described("chatbot")
    assert chat.reuse.hit_ratio == pytest.approx(0.62, abs=0.02)
    assert chat.reuse.reuse_times["chatbot"].within[600] == pytest.approx(0.80, abs=0.03)
    assert chat.conversations is not None and chat.clients is not None
    assert chat.conversations.mean_turns == pytest.approx(3.5, rel=0.03)
    assert chat.conversations.next_turn[:3] == pytest.approx([0.5, 0.8, 0.8], abs=0.02)
    assert chat.conversations.between_turns_s["p50"] == pytest.approx(100, rel=0.15)
    assert chat.clients.top_share[1] == pytest.approx(0.16, abs=0.03)


def test_api():
    """KVCache Cache in the Wild, trace B."""
    api = described("api")
    assert api.reuse.hit_ratio == pytest.approx(0.54, abs=0.02)
    assert api.reuse.reuse_times["api"].within[10] == pytest.approx(0.80, abs=0.03)
    assert api.reuse.life_s["p90"] <= 0.3


def test_toolagent():
    """The first 1,000 requests of Mooncake's toolagent trace."""
    tools = described("toolagent")
    assert tools.reuse.hit_ratio == pytest.approx(0.39, abs=0.03)
    assert tools.input.quantiles["p50"] == pytest.approx(6558, rel=0.1)
    assert tools.input.quantiles["p90"] == pytest.approx(19_789, rel=0.2)
    assert tools.output.mean == pytest.approx(199, rel=0.1)


def test_coder():
    """710 Claude Code sessions."""
    coder = described("coder")
    assert coder.reuse.hit_ratio == pytest.approx(0.963, abs=0.03)
    assert coder.input.mean == pytest.approx(122_317, rel=0.1)
    assert coder.output.quantiles["p50"] == pytest.approx(216, rel=0.1)
    assert coder.conversations is not None
    assert coder.conversations.mean_turns == pytest.approx(69.4, rel=0.1)


def test_reasoning():
    """Half an hour of ServeGen's deepseek-r1."""
    pool = BUILTINS["reasoning"].pool()
    workload = compose(pool, seed=0, duration_s=1800.0)
    ratio = reason_tokens(pool, workload, seed=0) / workload.output_tokens
    assert np.median(workload.output_tokens) == pytest.approx(538, rel=0.1)
    assert np.quantile(workload.output_tokens, 0.99) == pytest.approx(6412, rel=0.15)
    assert np.median(workload.input_tokens) == pytest.approx(331, rel=0.15)
    assert ratio.mean() == pytest.approx(0.70, abs=0.02)


def test_multimodal():
    """ServeGen's mm-image: 1.59 images of 650 tokens."""
    module_clients = BUILTINS["multimodal"].pool().clients
    media = module_clients[0].lengths[0].media
    assert media is not None
    images = media["image"]
    assert images.count.mean() == pytest.approx(1.59, rel=0.02)
    assert images.tokens.mean() == pytest.approx(650, rel=0.02)
    assert described("multimodal").output.quantiles["p50"] == pytest.approx(98, rel=0.05)


def test_rag_shares_more_if_there_are_fewer_documents():
    many, few = (generate("rag", 0, {"requests": 3000, "documents": n}).summary() for n in (100_000, 100))
    assert few["prefix_hit_ratio"] > many["prefix_hit_ratio"] + 0.2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("chatbots", {}, "unknown built-in workload 'chatbots'; did you mean 'chatbot'?"),
        ("chatbot", {"seed": 3}, "option 'seed' of workload 'chatbot': use the scenario's seed instead"),
        ("chatbot", {"client": 3}, "unknown option 'client' of workload 'chatbot'; did you mean 'clients'?"),
        ("chatbot", {"clients": 3.0}, "option 'clients' of workload 'chatbot': expected int, got 3.0"),
        ("chatbot", {"between_s": True}, "option 'between_s' of workload 'chatbot': expected float, got True"),
        ("chatbot", {"requests": 0}, "option 'requests' of workload 'chatbot': must be from 1 to 1e+08, got 0"),
        ("chatbot", {"clients": 10**400}, "option 'clients' of workload 'chatbot': must be from 1 to 100000, got 1000"),
        ("chatbot", {"rate_per_s": float("nan")}, "must be from 0.001 to 1e+06, got nan"),
        ("chatbot", {"rate_per_s": -1}, "must be from 0.001 to 1e+06, got -1"),
        ("chatbot", {"between_s": 0.0}, "must be from 0.001 to 1e+08, got 0.0"),
        ("rag", {"passages": 0}, "must be from 1 to 100, got 0"),
        ("api", {"duration_s": 5.0, "requests": 5}, "workload 'api': give requests or duration_s, not both"),
        ("api", {"duration_s": 1e8, "rate_per_s": 2}, "rate_per_s times duration_s is more than 100000000 requests"),
    ],
)
def test_bad_names_and_options(name: str, options: dict[str, Any], message: str):
    with pytest.raises(WorkloadError) as caught:
        generate(name, 0, options)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 150
