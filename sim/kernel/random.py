"""The router's random stream: splitmix64, so that it is the same on every machine and easy to write down."""

import numpy as np

from .jit import inlined


@inlined
def below(sim, n):
    """A uniform integer in [0, n)."""
    cluster = sim.cluster[0]
    cluster.random += np.uint64(0x9E3779B97F4A7C15)
    z = cluster.random
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return np.int64(((z >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))
