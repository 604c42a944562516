"""Policies that hash a key to an instance.

Rendezvous hashing (Thaler and Ravishankar 1998) stands in for the ring of other implementations: the key goes to the
instance of the highest hash(key, instance). Like a ring it moves only the keys of an instance that comes or goes;
unlike one it has no virtual nodes to choose, and its shares are even.
"""

import math

import numpy as np

from ..kernel.indicators import batch_size
from ..kernel.jit import compiled, inlined
from ..kernel.routing import Option, router
from ..kernel.state import NONE


@inlined
def _hash(key, i):
    """splitmix64's output function of key and instance."""
    z = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(i + 1) * np.uint64(0xD1B54A32D192ED03)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def rendezvous(sim, key, most_requests):
    """The accepting instance of the highest hash among those with at most ``most_requests``; NONE if there is none."""
    best, highest = NONE, np.uint64(0)
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        if batch_size(sim, i) <= most_requests:
            value = _hash(key, i)
            if best == NONE or value > highest:
                best, highest = i, value
    return best


@inlined
def session_key(sim, r):
    """The request's session; without one, the request is its own key."""
    session = sim.session[r]
    return session if session != NONE else len(sim.req) + r


@compiled
def load_bound(sim, load_factor):
    """``load_factor`` times the mean of queued + running requests, the arriving one among them."""
    total = 1
    for a in range(sim.cluster[0].accepting):
        total += batch_size(sim, sim.accepting[a])
    return load_factor * total / sim.cluster[0].accepting


@router("consistent-hash")
def _consistent_hash(sim, r):
    """where the session hashes

    argmax hash(session, instance); a request without a session is a key of its own.

    Source: rendezvous hashing, D. Thaler and C. Ravishankar, 1998.
    """
    return rendezvous(sim, session_key(sim, r), math.inf)


@router(
    "bounded-consistent-hash",
    options={"load_factor": Option(1.25, 1.0, 1e6, "most load of an instance", "mean loads")},
)
def _bounded_consistent_hash(sim, r):
    """where the session hashes, among those not too loaded

    argmax hash(session, instance) among those with queued + running requests <= load_factor x (total + 1)/n.

    Source: V. Mirrokni, M. Thorup and M. Zadimoghaddam, Consistent hashing with bounded loads, 2018.
    """
    return rendezvous(sim, session_key(sim, r), load_bound(sim, sim.option[0]))
