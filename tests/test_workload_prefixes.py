"""Hash ids to shared prefixes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workloads.prefixes import prefixes_from_hashes

BLOCK_TOKENS = 4


def prefixes(hash_ids: list[list[int]], input_tokens: list[int]) -> tuple[list[int], list[int]]:
    offsets = np.cumsum([0, *map(len, hash_ids)], dtype=np.int64)
    ids = np.array([i for row in hash_ids for i in row], np.int64)
    request, tokens = prefixes_from_hashes(offsets, ids, np.array(input_tokens, np.int64), BLOCK_TOKENS)
    return request.tolist(), tokens.tolist()


def test_a_prefix_is_that_of_the_row_which_introduced_its_last_block():
    hash_ids = [[1, 2], [1, 3, 2], [1, 3, 4], [2, 1], []]
    assert prefixes(hash_ids, [8, 12, 10, 8, 3]) == ([-1, 0, 1, -1, -1], [0, 4, 8, 0, 0])


def test_a_partial_last_block_shares_no_more_than_both_prompts_have():
    assert prefixes([[1, 2], [1, 2], [1, 2]], [7, 6, 8]) == ([-1, 0, 0], [0, 6, 7])


ids = st.sampled_from([-(2**63), -1, 0, 1, 2**63 - 1])


@given(st.lists(st.lists(ids, max_size=4), min_size=1, max_size=8))
def test_against_comparing_all_pairs(hash_ids: list[list[int]]):
    def known(row: int, other: int) -> int:
        a, b = hash_ids[row], hash_ids[other]
        return max(blocks for blocks in range(min(len(a), len(b)) + 1) if a[:blocks] == b[:blocks])

    expected_request, expected_tokens = [], []
    for row in range(len(hash_ids)):
        most = max((known(row, other) for other in range(row)), default=0)
        first = next((other for other in range(row) if known(row, other) == most), -1) if most else -1
        expected_request.append(first)
        expected_tokens.append(most * BLOCK_TOKENS)
    full = [BLOCK_TOKENS * max(len(row), 1) for row in hash_ids]
    assert prefixes(hash_ids, full) == (expected_request, expected_tokens)
