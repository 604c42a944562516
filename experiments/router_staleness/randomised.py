"""LMetric among a few: what randomisation does to a policy that goes by the prefix cache."""

import numpy as np

from sim.routing import ClusterView, RoutedRequest

DRAWN = 2


class AmongThree:
    """LMetric's product, but only of `DRAWN` instances drawn at random and of one of the longest matches."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)

    def __call__(self, request: RoutedRequest, view: ClusterView) -> int:
        order = self.random.permutation(np.flatnonzero(view.healthy))
        longest = order[np.argmax(view.hit_tokens[order])]
        some = np.append(order[:DRAWN], longest)
        product = (view.queued_prefill_tokens + view.new_tokens) * (view.batch_size + 1)
        return int(some[np.argmin(product[some])])
