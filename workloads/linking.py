"""Rows that refer to each other: the conversations of all clients in one workload, with parents and prefixes."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from workloads.clients import Client
from workloads.conversations import Turns
from workloads.sharing import share_contexts
from workloads.workload import Workload


class Talks(NamedTuple):
    """A client's C conversations.

    documents, document_tokens: (C, D) which documents each begins with, and their lengths.
    """

    turns: Turns
    documents: NDArray[np.int64]
    document_tokens: NDArray[np.int64]


def link(name: str, clients: Sequence[Client], talks: Sequence[Talks]) -> Workload:
    """The workload of category `name`, conversation by conversation in order of their first requests.

    A follow-up continues the turn before. A first request begins as that of the earlier conversation with which its
    context has most in common.
    """
    turns = Turns._make(np.concatenate(column) for column in zip(*(talk.turns for talk in talks), strict=True))
    member = np.repeat(np.arange(len(clients)), [len(talk.turns.turn) for talk in talks])
    begins = np.flatnonzero(turns.turn == 0)
    length = np.diff(np.append(begins, len(turns.turn)))
    order = np.argsort(turns.arrival_s[begins], kind="stable")  # the lower id first where conversations coincide
    row = np.arange(len(turns.turn))
    conversation = np.repeat(np.arange(len(order)), length[order])
    old_row = np.repeat(begins[order], length[order])
    first_row = (np.cumsum(length[order]) - length[order])[conversation]
    old_row += row - first_row
    turns, member = turns.take(old_row), member[old_row]
    follow_up = turns.turn > 0

    profiles = [client.prefixes for client in clients]
    group = np.array([-1 if profile is None else profile.group for profile in profiles])
    system_tokens = np.array([0 if profile is None else profile.system_tokens for profile in profiles])
    host = member[~follow_up]
    most = max(talk.documents.shape[1] for talk in talks)
    documents = np.concatenate([_padded(talk.documents, most) for talk in talks])[order]
    document_tokens = np.concatenate([_padded(talk.document_tokens, most) for talk in talks])[order]
    contexts = share_contexts(group[host], system_tokens[host], documents, document_tokens)
    sharer = np.where(contexts.sharer >= 0, np.flatnonzero(~follow_up)[contexts.sharer], -1)
    whole_turn = turns.input_tokens + turns.output_tokens

    closed = follow_up & np.isnan(turns.arrival_s)
    talks_on = np.array([client.conversation is not None for client in clients])
    return Workload.build(
        arrival_s=turns.arrival_s,
        input_tokens=turns.input_tokens,
        output_tokens=turns.output_tokens,
        category_names=(name,),
        client=np.array([client.id for client in clients])[member],
        session=np.where(talks_on[member], conversation, -1),
        turn=turns.turn,
        parent=np.where(closed, row - 1, -1),
        think_s=turns.think_s,
        prefix_request=np.where(follow_up, row - 1, sharer[conversation]),
        prefix_tokens=np.where(follow_up, whole_turn[row - 1], contexts.shared_tokens[conversation]),
    )


def _padded(table: NDArray[np.int64], columns: int) -> NDArray[np.int64]:
    return np.pad(table, ((0, 0), (0, columns - table.shape[1])), constant_values=-1)
