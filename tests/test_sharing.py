"""Prefix profiles: which prompts begin alike, and how long."""

from itertools import pairwise

import numpy as np
import pytest

from workloads import WorkloadError
from workloads.arrivals import Arrivals
from workloads.clients import Client, ClientPool
from workloads.compose import generate
from workloads.lengths import Empirical, Lengths, LogNormal
from workloads.sharing import Documents, PrefixProfile, share_contexts, zipf_shares

PASSAGES = Documents(20, LogNormal(100, 0.5), each=2)


def client(id: int, profile: PrefixProfile | None) -> Client:
    return Client.build(id, Arrivals.build([1.0]), Lengths(LogNormal(50, 1), LogNormal(50, 1)), prefixes=profile)


def pool_of(*clients: Client) -> ClientPool:
    return ClientPool.build("p", [0, 300], clients)


def test_contexts_share_what_they_have_in_common():
    """Against a plain comparison of every two contexts, written out token by token."""
    rng = np.random.default_rng(0)
    rows = 300
    group = rng.integers(-1, 3, rows)
    system_tokens = np.array([0, 0, 40, 7])[group + 1]
    documents = rng.integers(0, 4, (rows, 3))
    documents[group == 0, 1:] = -1  # this group has one document
    documents[group == -1] = -1
    length = np.array([5, 9, 2, 30])
    tokens = np.where(documents >= 0, length[documents], 0)
    contexts = share_contexts(group, system_tokens, documents, tokens)

    def written(row: int) -> list[tuple[int, ...]]:
        if group[row] < 0:
            return []
        text: list[tuple[int, ...]] = [(group[row], at) for at in range(system_tokens[row])]
        so_far: tuple[int, ...] = (group[row],)
        for document in documents[row][documents[row] >= 0]:
            so_far = (*so_far, document)
            text += [(*so_far, at) for at in range(length[document])]
        return text

    texts = [written(row) for row in range(rows)]
    for row, text in enumerate(texts):
        common = [next((i for i, (a, b) in enumerate(zip(text, t, strict=False)) if a != b), min(len(text), len(t)))
                  for t in texts[:row]]  # fmt: skip
        most = max(common, default=0)
        assert contexts.tokens[row] == len(text)
        assert contexts.shared_tokens[row] == most
        assert (contexts.sharer[row] >= 0) == (most > 0)
        if most:
            assert common[contexts.sharer[row]] == most


def test_system_prompts_are_shared_within_a_group_only():
    a, b = PrefixProfile(0, 500), PrefixProfile(1, 300)
    workload = generate(pool_of(client(0, a), client(1, a), client(2, b), client(3, None)), seed=0)
    for members, tokens in (([0, 1], 500), ([2], 300)):
        rows = np.flatnonzero(np.isin(workload.client, members))
        assert workload.prefix_request[rows[0]] == -1
        assert (workload.prefix_request[rows[1:]] == rows[0]).all()
        assert (workload.prefix_tokens[rows[1:]] == tokens).all()
        assert (workload.input_tokens[rows] > tokens).all()
    assert (workload.prefix_request[workload.client == 3] == -1).all()


def test_documents_have_zipf_popularity_and_one_length_each():
    library = Documents(50, LogNormal(100, 0.5), zipf_exponent=1.2)
    drawn = np.bincount(library.draw((np.arange(100_000) + 0.5) / 100_000), minlength=50)
    assert drawn / drawn.sum() == pytest.approx(zipf_shares(50, 1.2), rel=0.05)
    shares = zipf_shares(50, 1.2)
    assert all(a > b for a, b in pairwise(shares)) and shares[0] / shares[9] == pytest.approx(10**1.2)
    ask = Lengths(Empirical.build([7], [1.0]), Empirical.build([5], [1.0]))
    one = Client.build(0, Arrivals.build([5.0]), ask, prefixes=PrefixProfile(0, 10, library))
    workload = generate(pool_of(one), seed=0)
    assert len(np.unique(workload.input_tokens)) <= 50
    again = workload.prefix_tokens > 10
    assert (workload.input_tokens[again] == workload.prefix_tokens[again] + 7).all()


def test_a_group_has_the_same_documents_for_all_its_clients():
    profile = PrefixProfile(4, 0, PASSAGES)
    workload = generate(pool_of(client(0, profile), client(1, profile)), seed=0)
    other = workload.client[workload.prefix_request] != workload.client
    assert np.count_nonzero(other & (workload.prefix_request >= 0)) > 50


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Documents(0, LogNormal(1, 1)), "Documents: count must be from 1 to 10000000, got 0"),
        (lambda: Documents(5, LogNormal(1, 1), -1), "Documents: zipf_exponent must be a number from 0 on, got -1"),
        (lambda: Documents(5, LogNormal(1, 1), float("nan")), "Documents: zipf_exponent must be"),
        (lambda: Documents(5, LogNormal(1, 1), each=0), "Documents: each must be at least 1, got 0"),
        (lambda: PrefixProfile(-1), "PrefixProfile: group must be a number from 0 on, got -1"),
        (lambda: PrefixProfile(0, -5), "PrefixProfile: system_tokens must be a number from 0 on, got -5"),
        (
            lambda: pool_of(client(0, PrefixProfile(0, 5)), client(7, PrefixProfile(0, 6))),
            "pool 'p': client 7 has another prefix profile than the others of group 0; give it a group of its own",
        ),
    ],
)
def test_what_is_wrong_is_said(make, message: str):
    with pytest.raises(WorkloadError) as caught:
        make()
    assert message in str(caught.value)
