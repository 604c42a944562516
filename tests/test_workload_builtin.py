"""The built-in chat workload."""

import numpy as np
import pytest

from workloads import Workload, WorkloadError, shared_prefix_chat


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
    [("requests", 0), ("clients", 0), ("rate_per_s", 0), ("mean_turns", 0.5), ("mean_think_s", -1)],
)
def test_parameters_out_of_range(parameter: str, value: float):
    with pytest.raises(WorkloadError, match=f"shared_prefix_chat: {parameter} must be .* got {value}"):
        shared_prefix_chat(**{parameter: value})


def test_one_request_is_enough():
    assert len(shared_prefix_chat(1, clients=1, mean_turns=1, mean_think_s=0)) == 1
