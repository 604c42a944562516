"""The built-in chat workload."""

from typing import Any

import numpy as np
import pytest

from workloads import Workload, WorkloadError, generate, shared_prefix_chat


def conversations_of(workload: Workload, client: int) -> np.ndarray:
    rows = np.flatnonzero(workload.client == client)
    names = ("turn", "input_tokens", "output_tokens", "think_s")
    return np.column_stack([getattr(workload, name)[rows] for name in names])


def test_it_is_deterministic_and_follows_its_seed():
    assert shared_prefix_chat(300) == shared_prefix_chat(300)
    assert shared_prefix_chat(300) != shared_prefix_chat(300, seed=1)


def test_a_follow_up_contains_its_whole_parent_and_a_first_turn_the_system_prompt():
    chat = shared_prefix_chat(1000)
    assert len(chat) == 1000
    follow_up = chat.parent >= 0
    parent = chat.parent[follow_up]
    assert (chat.prefix_request[follow_up] == parent).all()
    assert (chat.prefix_tokens[follow_up] == chat.input_tokens[parent] + chat.output_tokens[parent]).all()
    assert (chat.input_tokens[follow_up] > chat.prefix_tokens[follow_up]).all()
    assert (chat.session[follow_up] == chat.session[parent]).all()
    first = ~follow_up & (chat.prefix_request >= 0)
    assert (chat.client[chat.prefix_request[first]] == chat.client[first]).all()
    for client in np.unique(chat.client):
        assert len(np.unique(chat.prefix_tokens[first & (chat.client == client)])) <= 1
    assert np.count_nonzero(~follow_up & (chat.prefix_request < 0)) == len(np.unique(chat.client))


def test_more_clients_or_requests_do_not_change_what_a_client_says():
    few, many = shared_prefix_chat(500, clients=8), shared_prefix_chat(500, clients=9)
    longer = shared_prefix_chat(900, clients=8)
    for client in range(8):
        said = conversations_of(few, client)
        for other in (conversations_of(many, client), conversations_of(longer, client)):
            common = min(len(said), len(other))
            assert np.array_equal(said[:common], other[:common])


def test_its_rates_and_means_are_those_asked_for():
    chat = shared_prefix_chat(40_000, rate_per_s=20.0, mean_turns=5.0, mean_think_s=7.0)
    roots = chat.summary()["roots"]
    assert 40_000 / roots == pytest.approx(5.0, rel=0.05)
    assert chat.summary()["root_rate_per_s"] == pytest.approx(4.0, rel=0.05)
    assert chat.think_s[chat.parent >= 0].mean() == pytest.approx(7.0, rel=0.05)
    requests_of_client = np.bincount(chat.client, minlength=32)
    assert requests_of_client[0] / requests_of_client[3] == pytest.approx(4.0, rel=0.2)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("requests", 0),
        ("requests", 100_000_001),
        ("clients", 0),
        ("clients", 1_000_001),
        ("rate_per_s", 0),
        ("rate_per_s", float("inf")),
        ("rate_per_s", float("nan")),
        ("zipf_exponent", -1),
        ("mean_turns", 0.5),
        ("mean_turns", float("inf")),
        ("mean_think_s", -1),
    ],
)
def test_parameters_out_of_range(parameter: str, value: float):
    with pytest.raises(WorkloadError, match=f"shared_prefix_chat: {parameter} must be .* got {value}"):
        shared_prefix_chat(**{parameter: value})


@pytest.mark.parametrize("parameter", ["rate_per_s", "mean_turns", "zipf_exponent", "mean_think_s"])
def test_integers_beyond_all_floats_are_out_of_range(parameter: str):
    with pytest.raises(WorkloadError, match=f"shared_prefix_chat: {parameter} must be ") as caught:
        shared_prefix_chat(**{parameter: 10**400})
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize("mean_turns", [1e18, 1e300, 10**300])
def test_a_conversation_may_be_longer_than_the_workload(mean_turns: float):
    chat = shared_prefix_chat(100, mean_turns=mean_turns)
    assert (len(chat), chat.summary()["roots"]) == (100, 1)


@pytest.mark.parametrize("parameter", ["rate_per_s", "mean_think_s"])
@pytest.mark.filterwarnings("error")
def test_times_beyond_all_floats_are_an_error(parameter: str):
    with pytest.raises(WorkloadError, match="is not a finite time"):
        shared_prefix_chat(**{parameter: {"rate_per_s": 5e-324, "mean_think_s": 1.7e308}[parameter]})


def test_the_largest_zipf_exponent_and_number_of_clients():
    assert set(shared_prefix_chat(50, zipf_exponent=10**300).client) == {0}
    assert shared_prefix_chat(50, clients=1_000_000).client.max() > 32


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("shared-prefix-chat", {"seed": 3}, "option 'seed' of workload 'shared-prefix-chat': use the scenario's seed"),
        ("shared-prefix-chat", {"name": "x"}, "unknown option 'name' of workload 'shared-prefix-chat'"),
        ("shared-prefix-chat", {"options": {}}, "unknown option 'options' of workload 'shared-prefix-chat'"),
        ("shared-prefix-chat", {"client": 3}, "did you mean 'clients'?"),
        (
            "shared-prefix-chat",
            {"clients": 3.0},
            "option 'clients' of workload 'shared-prefix-chat': expected int, got 3.0",
        ),
        ("shared-prefix-chat", {"mean_turns": True}, "expected float, got True"),
        (
            "shared-prefix-chats",
            {},
            "unknown built-in workload 'shared-prefix-chats'; did you mean 'shared-prefix-chat'?",
        ),
    ],
)
def test_bad_names_and_options(name: str, options: dict[str, Any], message: str):
    with pytest.raises(WorkloadError) as caught:
        generate(name, 0, options)
    assert message in str(caught.value)


def test_generate_passes_seed_and_options():
    assert generate("shared-prefix-chat", 5, {"requests": 40}) == shared_prefix_chat(40, seed=5)


def test_one_request_is_enough():
    assert len(shared_prefix_chat(1, clients=1, mean_turns=1, mean_think_s=0)) == 1
