"""Prefix profiles: what the prompts of a client, or of a group of clients, begin with.

A prompt is a system prompt, then documents (retrieved passages, templates of an application), then what was said in
the conversation. Two prompts of a group share the system prompt, and the leading documents that they have in common.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workloads.errors import WorkloadError
from workloads.lengths import Law

MOST_DOCUMENTS = 10_000_000  # a group's documents have a table of popularities and of lengths in memory


@dataclass(frozen=True)
class Documents:
    """Documents of which every conversation begins with `each`, drawn independently.

    The k-th of `count` is drawn with a probability proportional to k to the power of -`zipf_exponent`. tokens: law of
    a document's length; a document has the same length, and content, wherever it occurs.
    """

    count: int
    tokens: Law
    zipf_exponent: float = 1.0
    each: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MOST_DOCUMENTS:
            raise WorkloadError(f"Documents: count must be from 1 to {MOST_DOCUMENTS}, got {self.count}")
        if not 0 <= self.zipf_exponent < float("inf"):
            raise WorkloadError(f"Documents: zipf_exponent must be a number from 0 on, got {self.zipf_exponent}")
        if self.each < 1:
            raise WorkloadError(f"Documents: each must be at least 1, got {self.each}")

    def draw(self, u: NDArray[np.float64]) -> NDArray[np.int64]:
        """The documents, from 0 by falling popularity, for uniform variables `u` of any shape."""
        return np.searchsorted(np.cumsum(zipf_shares(self.count, self.zipf_exponent)), u, side="right").clip(
            max=self.count - 1
        )


@dataclass(frozen=True)
class PrefixProfile:
    """What prompts begin with; clients of the same `group` (a number from 0) share all of it."""

    group: int
    system_tokens: int = 0
    documents: Documents | None = None

    def __post_init__(self) -> None:
        if self.group < 0:
            raise WorkloadError(f"PrefixProfile: group must be a number from 0 on, got {self.group}")
        if self.system_tokens < 0:
            raise WorkloadError(f"PrefixProfile: system_tokens must be a number from 0 on, got {self.system_tokens}")


class Contexts(NamedTuple):
    """What C conversations begin with.

    tokens: (C,) of all of it. sharer: (C,) the first conversation that begins with most of the same, -1 for none;
    it comes earlier. shared_tokens: (C,) how much is the same, 0 for none.
    """

    tokens: NDArray[np.int64]
    sharer: NDArray[np.int64]
    shared_tokens: NDArray[np.int64]


def share_contexts(
    group: NDArray[np.int64],
    system_tokens: NDArray[np.int64],
    documents: NDArray[np.int64],
    document_tokens: NDArray[np.int64],
) -> Contexts:
    """Contexts of conversations in order: (C,) group, -1 for none, and system prompt; (C, D) documents and lengths.

    A conversation with fewer documents than D has -1 after its last one.
    """
    conversations = np.arange(len(group))
    tokens, known = system_tokens.copy(), group >= 0
    sharer, shared_tokens = np.full(len(group), -1), np.zeros(len(group), np.int64)
    key = group
    for level in range(documents.shape[1] + 1):
        if level > 0:  # the trie of contexts, one level deeper: a node is its parent and the next document
            document = documents[:, level - 1]
            known = known & (document >= 0)
            key = key * (documents.max() + 1) + document
            tokens = np.where(known, tokens + document_tokens[:, level - 1], tokens)
        key = np.where(known, key, -1)
        _, first, key = np.unique(key, return_index=True, return_inverse=True)
        shares = known & (first[key] < conversations) & (tokens > 0)
        sharer, shared_tokens = np.where(shares, first[key], sharer), np.where(shares, tokens, shared_tokens)
    return Contexts(tokens, sharer, shared_tokens)


def zipf_shares(count: int, exponent: float) -> NDArray[np.float64]:
    """(count,) shares proportional to rank to the power of minus `exponent`; they sum to 1."""
    weight = np.arange(1.0, count + 1) ** -exponent
    return weight / weight.sum()
