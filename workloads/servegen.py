"""ServeGen's client pools (https://github.com/alibaba/ServeGen), read from its folders as they are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from workloads.arrivals import Arrivals
from workloads.clients import NO_LENGTHS, Client, ClientPool
from workloads.errors import TraceError, did_you_mean
from workloads.lengths import Empirical, Lengths, Media
from workloads.servegen_files import MEDIA_KINDS, Folder, read_folder

Missing = Literal["refuse", "skip", "borrow"]
Laws = dict[str, Empirical]  # by field

_ADDS_INPUT = ("input_tokens", "text_tokens", *(f"{kind}_count" for kind in MEDIA_KINDS))


def read_servegen(path: str | Path, missing_lengths: str = "refuse", cache: bool = True) -> ClientPool:
    """The pool in a folder of `chunk-<id>-trace.csv` and `chunk-<id>-dataset.json`, named as the folder.

    Rate, family and CV are those of the trace's columns; its shape and scale are not used. Lengths come from the
    dataset: `input_tokens` and `output_tokens` (with `reason_ratio` where it is a reasoning model), or `text_tokens`,
    `output_tokens` and, for images, audio and video, how many a request has and the tokens of each.

    `missing_lengths` says what to do with clients that are active while there are no lengths for them, as the public
    data has: "refuse" them, "skip" these windows, or "borrow" the mean law of the clients that have lengths at that
    time, weighted by their requests. In the last two cases the pool's `notes` tell their number and share.

    What was read is kept in the user's cache directory and used again while the files stay as they are, unless
    `cache` is False. Raises TraceError naming file, line or field.
    """
    if missing_lengths not in get_args(Missing):
        raise TraceError(f"missing_lengths: '{missing_lengths}'; {did_you_mean(missing_lengths, get_args(Missing))}")
    path = Path(path)
    folder = read_folder(path, cache)
    laws = [_laws(folder, entry) for entry in range(len(folder.entry_client))]
    entry_of_window = _entry_of_window(folder, laws)
    notes: list[str] = []

    requests = folder.rate_per_s * np.diff(folder.edges_s)
    missing = (folder.rate_per_s > 0) & (entry_of_window == NO_LENGTHS)
    rate_per_s = folder.rate_per_s
    if missing.any():
        note = (
            f"{int(missing.any(axis=1).sum())} of {len(folder.ids)} clients, with "
            f"{requests[missing].sum() / requests.sum():.1%} of the requests, have no lengths while they are active"
        )
        if missing_lengths == "refuse":
            raise TraceError(f"{path}: {note}; choose missing_lengths 'skip' or 'borrow'")
        notes.append(f"{note}: {'skipped' if missing_lengths == 'skip' else 'borrowed from the others'}")
        if missing_lengths == "skip":
            rate_per_s = np.where(missing, 0.0, rate_per_s)
        else:
            entry_of_window = _borrow(path, folder, laws, entry_of_window, requests, missing)
    if not (rate_per_s > 0).any():
        raise TraceError(f"{path}: no client is active with lengths; there is nothing to generate")

    empty = _empty_share(laws, entry_of_window, np.where(rate_per_s > 0, requests, 0.0))
    if empty > 0:
        notes.append(f"{empty:.2g} of the requests have an output of 0 tokens: they get 1")
    lengths = [None if own is None else _lengths(own) for own in laws]
    clients = []
    for row, id_ in enumerate(folder.ids):
        entries, index = np.unique(entry_of_window[row], return_inverse=True)
        known = entries != NO_LENGTHS
        own = [used for entry in entries[known] if (used := lengths[entry]) is not None]
        index = index - np.count_nonzero(~known)  # NO_LENGTHS comes first
        arrivals = Arrivals(rate_per_s[row], folder.cv[row], folder.family[row], np.empty(0))
        if (rate_per_s[row] > 0).any():
            clients.append(Client.build(int(id_), arrivals, own, index))
    return ClientPool.build(path.name, folder.edges_s, clients, tuple(notes))


def _laws(folder: Folder, entry: int) -> Laws | None:
    """The laws of a dataset entry; None where one is empty or all prompts are, as ServeGen writes idle periods."""
    laws = {}
    for column, field in enumerate(folder.fields):
        law = folder.law(entry, column)
        if law is None:
            return None
        laws[str(field)] = law
    holds_something = any(laws[field].values[-1] > 0 for field in laws if field in _ADDS_INPUT)
    return laws if holds_something else None


def _lengths(laws: Laws) -> Lengths:
    media = {
        kind: Media(laws[f"{kind}_count"], laws[f"{kind}_tokens"])
        for kind in MEDIA_KINDS
        if f"{kind}_count" in laws and laws[f"{kind}_count"].values[-1] > 0
    }
    text = laws["text_tokens"] if "text_tokens" in laws else laws["input_tokens"]
    return Lengths(text, laws["output_tokens"], laws.get("reason_ratio"), media or None)


def _entry_of_window(folder: Folder, laws: Sequence[Laws | None]) -> NDArray[np.int64]:
    """(C, W) the entry whose lengths hold, from its start to the client's next one; NO_LENGTHS for none."""
    usable = np.array([own is not None for own in laws], np.bool_)
    chosen = np.full(folder.rate_per_s.shape, NO_LENGTHS, np.int64)
    for row, id_ in enumerate(folder.ids):
        own = np.flatnonzero(folder.entry_client == id_)
        if len(own):
            position = np.searchsorted(folder.entry_start_s[own], folder.edges_s[:-1], side="right") - 1
            entry = own[position.clip(0)]
            chosen[row] = np.where((position >= 0) & usable[entry], entry, NO_LENGTHS)
    return chosen


def _borrow(
    path: Path,
    folder: Folder,
    laws: list[Laws | None],
    entry_of_window: NDArray[np.int64],
    requests: NDArray[np.float64],
    missing: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """`entry_of_window` with the missing windows filled from pooled laws, which are appended to `laws`."""
    filled = entry_of_window.copy()
    starts_s = folder.edges_s[:-1]
    borders_s = np.unique(np.append(folder.entry_start_s, starts_s[0]))
    period = np.searchsorted(borders_s, starts_s, side="right") - 1
    for p in np.unique(period[missing.any(axis=0)]):
        inside = period == p
        entries, weights = entry_of_window[:, inside], requests[:, inside]
        donates = (entries != NO_LENGTHS) & (weights > 0)
        if not donates.any():
            raise TraceError(f"{path}: nobody has lengths to borrow from {borders_s[p]:g} s on; use 'skip'")
        by_entry = np.bincount(entries[donates], weights[donates]).astype(np.float64)
        donors = np.flatnonzero(by_entry)
        filled[:, inside] = np.where(missing[:, inside], len(laws), entries)
        laws.append(_pooled([own for d in donors if (own := laws[d]) is not None], by_entry[donors]))
    return filled


def _pooled(donors: list[Laws], weights: NDArray[np.float64]) -> Laws:
    """The laws of a request of a random donor; the tokens of an image are those of a random image."""
    pooled = {}
    for field in donors[0]:
        own_weights = weights
        kind = field.removesuffix("_tokens")
        if kind in MEDIA_KINDS and (items := weights * [laws[f"{kind}_count"].mean() for laws in donors]).any():
            own_weights = items
        pooled[field] = Empirical.pooled([laws[field] for laws in donors], own_weights)
    return pooled


def _empty_share(
    laws: Sequence[Laws | None], entry_of_window: NDArray[np.int64], requests: NDArray[np.float64]
) -> float:
    """The share of the expected requests whose output law says 0 tokens."""
    empty = [0.0 if own is None else float(own["output_tokens"].cdf(np.zeros(1))[0]) for own in laws]
    return float((np.array([*empty, 0.0])[entry_of_window] * requests).sum() / requests.sum())
