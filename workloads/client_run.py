"""A client at work: what it sends, drawn from its own streams of random numbers."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from workloads.arrivals import ArrivalProcess
from workloads.clients import NO_LENGTHS, Client
from workloads.conversations import turn_numbers, unfold
from workloads.lengths import Lengths, Media, correlated_output_u, whole_tokens
from workloads.linking import Talks

# What a client draws has a stream of random numbers for each purpose; kinds of media take two more each. The content
# of documents belongs to the group of clients that shares them.
_ARRIVAL, _INPUT, _OUTPUT, REASON, _TURNS, _BETWEEN, _DOCUMENTS, _CONTENT, _MEDIA = range(9)


class ClientRun:
    """A client's requests, given out piece by piece."""

    def __init__(self, client: Client, edges_s: NDArray[np.float64], seed: int) -> None:
        self.client, self._edges_s = client, edges_s
        self._arrivals = ArrivalProcess(client.arrivals, edges_s, stream(seed, client.id, _ARRIVAL))
        self._input, self._output = (stream(seed, client.id, purpose) for purpose in (_INPUT, _OUTPUT))
        kinds = sorted({kind for lengths in client.lengths for kind in lengths.media or {}})
        self._media = {
            kind: (stream(seed, client.id, _MEDIA + 2 * i), stream(seed, client.id, _MEDIA + 2 * i + 1))
            for i, kind in enumerate(kinds)
        }

    def until(self, end_s: float) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """(arrival_s, input_tokens, output_tokens) of the requests before `end_s` not given out yet."""
        arrival_s = self._arrivals.until(end_s)
        return arrival_s, *self._tokens(arrival_s)

    def conversations(self, seed: int) -> Talks:
        """All conversations that begin in the pool's windows; requests that stand alone have one turn."""
        law, profile, id_ = self.client.conversation, self.client.prefixes, self.client.id
        start_s = self._arrivals.until(self._edges_s[-1])
        turns = np.ones(len(start_s), np.int64)
        if law is not None:
            turns = whole_tokens(law.turns.quantile(stream(seed, id_, _TURNS).random(len(start_s))))
        row_start_s = np.repeat(start_s, turns)
        between_s = np.zeros(len(row_start_s))
        if law is not None:
            between_s = law.between_s.quantile(stream(seed, id_, _BETWEEN).random(len(row_start_s)))

        documents = document_tokens = np.empty((len(start_s), 0), np.int64)
        if profile is not None and profile.documents is not None:
            library = profile.documents
            tokens = whole_tokens(library.tokens.quantile(stream(seed, profile.group, _CONTENT).random(library.count)))
            documents = library.draw(stream(seed, id_, _DOCUMENTS).random((len(start_s), library.each)))
            document_tokens = tokens[documents]
        context_tokens = document_tokens.sum(axis=1) + (profile.system_tokens if profile is not None else 0)

        own_tokens, output_tokens = self._tokens(row_start_s)
        context = np.repeat(context_tokens, turns)
        since_s = row_start_s - self._edges_s[0]
        rows = unfold(law, since_s, turn_numbers(turns), between_s, context, own_tokens, output_tokens)
        return Talks(rows, documents, document_tokens)

    def _tokens(self, arrival_s: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(input_tokens, output_tokens) of the next requests; these hold the lengths of the windows of `arrival_s`."""
        input_u, output_u = self._input.random(len(arrival_s)), self._output.random(len(arrival_s))
        input_, output = np.empty(len(arrival_s)), np.empty(len(arrival_s))
        for lengths, part in runs_of_lengths(self.client, self._edges_s, arrival_s):
            input_[part] = lengths.input.quantile(input_u[part])
            u = correlated_output_u(input_u[part], output_u[part], lengths.correlation)
            output[part] = lengths.output.quantile(u)
            for kind, media in (lengths.media or {}).items():
                input_[part] += _media_tokens(media, *self._media[kind], part.stop - part.start)
        return whole_tokens(input_), whole_tokens(output)


def runs_of_lengths(
    client: Client, edges_s: NDArray[np.float64], arrival_s: NDArray[np.float64]
) -> Iterator[tuple[Lengths, slice]]:
    """The lengths that hold, and the arrivals (in order of time) for which they do."""
    window = np.searchsorted(edges_s, arrival_s, side="right") - 1
    index = client.lengths_of_window[window.clip(0, len(edges_s) - 2)]
    borders = np.flatnonzero(np.diff(index)) + 1
    for first, last in zip(np.append(0, borders), np.append(borders, len(index)), strict=True):
        if last > first:
            assert index[first] != NO_LENGTHS
            yield client.lengths[index[first]], slice(int(first), int(last))


def _media_tokens(
    media: Media, count_rng: np.random.Generator, token_rng: np.random.Generator, requests: int
) -> NDArray[np.float64]:
    """(requests,) tokens of all images, or whatever it is, of each request."""
    counts = np.ceil(media.count.quantile(count_rng.random(requests))).astype(np.int64)
    tokens = np.ceil(media.tokens.quantile(token_rng.random(int(counts.sum()))))
    return np.bincount(np.repeat(np.arange(requests), counts), tokens, minlength=requests).astype(np.float64)


def stream(seed: int, client: int, purpose: int) -> np.random.Generator:
    """The random numbers of this client for this purpose; they depend on nothing else than the seed."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(client, purpose)))
