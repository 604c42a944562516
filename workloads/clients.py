"""Clients, each with its own arrivals and lengths, and pools of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workloads.arrivals import Arrivals
from workloads.conversations import Conversation
from workloads.errors import WorkloadError, did_you_mean
from workloads.lengths import Lengths
from workloads.sharing import PrefixProfile

NO_LENGTHS = -1
_Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Client:
    """A sender of requests over the W windows of its pool.

    id: number, from 0; requests carry it, and all that the client draws depends on it and the seed alone.
    lengths_of_window: (W,) index into `lengths`, or NO_LENGTHS where the client is silent.
    conversation: how first requests go on; `arrivals` are then those of first requests, and a conversation has the
    lengths of the window in which it starts. None if every request stands alone.
    prefixes: what prompts begin with, before the input of `lengths`. None for nothing shared.
    """

    id: int
    arrivals: Arrivals
    lengths: tuple[Lengths, ...]
    lengths_of_window: NDArray[np.int32]
    conversation: Conversation | None = None
    prefixes: PrefixProfile | None = None

    @classmethod
    def build(
        cls,
        id: int,
        arrivals: Arrivals,
        lengths: Lengths | Iterable[Lengths],
        lengths_of_window: ArrayLike = 0,
        *,
        conversation: Conversation | None = None,
        prefixes: PrefixProfile | None = None,
    ) -> "Client":
        """A validated client; one `lengths` may stand for all windows. Raises WorkloadError naming client and field."""
        own = (lengths,) if isinstance(lengths, Lengths) else tuple(lengths)
        windows = len(arrivals.rate_per_s)
        index = np.asarray(lengths_of_window, np.int32)
        index = np.full(windows, index) if index.ndim == 0 else index
        if not 0 <= id <= np.iinfo(np.int32).max:
            raise WorkloadError(f"client {id}: id must be a number from 0 to 2^31 - 1")
        if index.shape != (windows,):
            raise WorkloadError(f"client {id}: lengths_of_window has shape {index.shape}, expected ({windows},)")
        bad = (index >= len(own)) | (index < NO_LENGTHS) | ((index == NO_LENGTHS) & (arrivals.rate_per_s > 0))
        if bad.any():
            window = int(bad.argmax())
            raise WorkloadError(f"client {id}: lengths_of_window, window {window}: {index[window]} is no lengths")
        return cls(id, arrivals, own, index, conversation, prefixes)

    def take(self, windows: NDArray[np.int64]) -> "Client":
        """The client over windows of which w is this one's window `windows[w]`."""
        return replace(self, arrivals=self.arrivals.take(windows), lengths_of_window=self.lengths_of_window[windows])

    def scaled(self, factor: ArrayLike) -> "Client":
        """The client with rates times `factor`, a number or one a window."""
        return replace(self, arrivals=self.arrivals.scaled(factor))

    def mean_tokens(self, field: str) -> NDArray[np.float64]:
        """(W,) `Lengths.<field>` of each window; NaN where there are no lengths."""
        means = np.array([*(getattr(lengths, field) for lengths in self.lengths), np.nan])
        return means[self.lengths_of_window]


@dataclass(frozen=True, eq=False)
class ClientPool:
    """C clients over the same W windows; make one with `ClientPool.build`.

    name: of the traffic; it becomes the category of the requests. edges_s: (W + 1,) increasing borders of the windows.
    notes: what is to be known about the data, one line each.
    """

    name: str
    edges_s: NDArray[np.float64]
    clients: tuple[Client, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def build(
        cls, name: str, edges_s: ArrayLike, clients: Iterable[Client], notes: tuple[str, ...] = ()
    ) -> "ClientPool":
        """A validated pool. Raises WorkloadError naming the client or field."""
        edges, members = np.asarray(edges_s, np.float64), tuple(clients)
        if edges.ndim != 1 or len(edges) < 2 or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
            raise WorkloadError(f"pool '{name}': edges_s must be at least 2 finite, increasing times")
        if not members:
            raise WorkloadError(f"pool '{name}': has no clients; give at least one")
        seen: set[int] = set()
        profiles: dict[int, PrefixProfile] = {}
        for client in members:
            windows = len(client.arrivals.rate_per_s)
            if windows != len(edges) - 1:
                raise WorkloadError(f"pool '{name}': client {client.id} has {windows} windows, not {len(edges) - 1}")
            if client.id in seen:
                raise WorkloadError(f"pool '{name}': two clients have the id {client.id}; number them differently")
            seen.add(client.id)
            mine = client.prefixes
            if mine is not None and profiles.setdefault(mine.group, mine) != mine:
                problem = f"client {client.id} has another prefix profile than the others of group {mine.group}"
                raise WorkloadError(f"pool '{name}': {problem}; give it a group of its own")
        return cls(name, edges, members, notes)

    # --- what is in it ---

    @cached_property
    def client_rates_per_s(self) -> NDArray[np.float64]:
        """(C, W) requests per second of each client."""
        return np.stack([client.arrivals.rate_per_s for client in self.clients])

    @property
    def is_linked(self) -> bool:
        """Whether requests refer to others: clients hold conversations or share prefixes."""
        return any(client.conversation or client.prefixes for client in self.clients)

    @property
    def rate_per_s(self) -> NDArray[np.float64]:
        """(W,) requests (of conversations: first requests) per second of all clients together."""
        return self.client_rates_per_s.sum(axis=0)

    @property
    def shares(self) -> NDArray[np.float64]:
        """(C,) each client's share of the expected requests."""
        requests = self.client_rates_per_s @ np.diff(self.edges_s)
        return requests / requests.sum()

    def values(self, field: str) -> NDArray[np.float64]:
        """(C, W) of one of the fields `rate_per_s`, `cv`, `mean_input_tokens`, `mean_output_tokens`; NaN in silence."""
        if field in ("rate_per_s", "cv"):
            values = np.stack([getattr(client.arrivals, field) for client in self.clients])
        elif field in ("mean_input_tokens", "mean_output_tokens"):
            values = np.stack([client.mean_tokens(field) for client in self.clients])
        else:
            known = ("rate_per_s", "cv", "mean_input_tokens", "mean_output_tokens")
            raise WorkloadError(f"unknown field '{field}'; {did_you_mean(field, known)}")
        return np.where(self.client_rates_per_s > 0, values, np.nan)

    def cdfs(self, field: str) -> dict[float, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Per window, by its start in s: the sorted `field` of the active clients, and the share that has at most it.

        Fields are those of `values`. Windows in which nobody is active are left out.
        """
        columns = np.sort(self.values(field), axis=0)  # NaN last
        active = np.count_nonzero(self.client_rates_per_s > 0, axis=0)
        return {
            float(start_s): (columns[:count, window], np.arange(1, count + 1) / count)
            for window, (start_s, count) in enumerate(zip(self.edges_s[:-1], active, strict=True))
            if count
        }

    # --- other pools made from it ---

    def take(self, ids: Iterable[int]) -> "ClientPool":
        """Only the clients with these ids, in the pool's order."""
        wanted = set(ids)
        missing = wanted - {client.id for client in self.clients}
        if missing:
            raise WorkloadError(f"pool '{self.name}': has no client {min(missing)}")
        return self._with([client for client in self.clients if client.id in wanted])

    def span(self, start_s: float, end_s: float) -> "ClientPool":
        """The pool from `start_s` to `end_s`; times stay as they are, and windows at the ends are cut."""
        first, last = self.edges_s[0], self.edges_s[-1]
        if not first <= start_s < end_s <= last:
            raise WorkloadError(
                f"pool '{self.name}': no span from {start_s} to {end_s} s; it covers {first} to {last} s"
            )
        inside = self.edges_s[(self.edges_s > start_s) & (self.edges_s < end_s)]
        return self.on_edges(np.concatenate([[start_s], inside, [end_s]]))

    def on_edges(self, edges_s: NDArray[np.float64]) -> "ClientPool":
        """The same pool over other windows, each of which lies within one of the old ones."""
        window = np.searchsorted(self.edges_s, edges_s[:-1], side="right") - 1
        clients = [client.take(window) for client in self.clients]
        return ClientPool(self.name, edges_s, tuple(clients), self.notes)

    def filter(
        self,
        *,
        rate_per_s: _Range | None = None,
        cv: _Range | None = None,
        mean_input_tokens: _Range | None = None,
        mean_output_tokens: _Range | None = None,
    ) -> "ClientPool":
        """Clients are silent in the windows where a field lies outside its range (least, most); the silent ones go."""
        keep = self.client_rates_per_s > 0
        ranges: Mapping[str, _Range | None] = {
            "rate_per_s": rate_per_s,
            "cv": cv,
            "mean_input_tokens": mean_input_tokens,
            "mean_output_tokens": mean_output_tokens,
        }
        for field, limits in ranges.items():
            if limits is not None:
                values = self.values(field)
                keep &= (values >= limits[0]) & (values <= limits[1])
        if not keep.any():
            raise WorkloadError(f"pool '{self.name}': no window of any client passes the filter; widen its ranges")
        return self._with([client.scaled(k) for client, k in zip(self.clients, keep, strict=True) if k.any()])

    def scaled(self, factor: ArrayLike) -> "ClientPool":
        """All rates times `factor`, a number or one a window."""
        return self._with([client.scaled(factor) for client in self.clients])

    def correlated(self, correlation: float) -> "ClientPool":
        """Within each client and window, input and output have this rank correlation."""
        return self._with(
            [
                replace(client, lengths=tuple(replace(lengths, correlation=correlation) for lengths in client.lengths))
                for client in self.clients
            ]
        )

    def _with(self, clients: list[Client]) -> "ClientPool":
        return ClientPool.build(self.name, self.edges_s, clients, self.notes)
