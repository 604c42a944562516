"""What a policy remembers: the home of a session, and a log of its decisions with sums over a window of it."""

from .jit import compiled, inlined
from .state import NONE


@inlined
def home_of(sim, r):
    """Where request ``r``'s session was sent last; NONE for none, or if that instance no longer accepts."""
    session = sim.session[r]
    if session == NONE:
        return NONE
    i = sim.home[session]
    return i if i != NONE and sim.inst[i].accepting == 1 else NONE


@inlined
def settle(sim, r, i):
    """Request ``r``'s session lives on instance ``i`` from now on. Returns ``i``."""
    if sim.session[r] != NONE:
        sim.home[sim.session[r]] = i
    return i


@inlined
def _count_crowds(sim, r, change):
    """Request ``r`` enters the window or leaves it: each segment of its path has a crowd."""
    x = r
    while x != NONE:
        sim.crowd[x].requests += change
        x = sim.seg[x].parent


@compiled
def expire(sim, window_ps):
    """Take the decisions older than ``window_ps`` out of the sums over the window."""
    cluster = sim.cluster[0]
    while cluster.expired < cluster.logged and sim.log[cluster.expired].at < cluster.clock - window_ps:
        entry = sim.log[cluster.expired]
        sim.recent[entry.instance].requests -= 1
        sim.recent[entry.instance].new_tokens -= entry.new_tokens
        if len(sim.crowd) > 0:
            _count_crowds(sim, entry.request, -1)
        cluster.expired += 1


@compiled
def remember(sim, r, i, new_tokens):
    """Log that request ``r`` goes to instance ``i``, to compute ``new_tokens`` there. Returns ``i``."""
    cluster = sim.cluster[0]
    entry = sim.log[cluster.logged]
    entry.at = cluster.clock
    entry.request = r
    entry.instance = i
    entry.new_tokens = new_tokens
    cluster.logged += 1
    sim.recent[i].requests += 1
    sim.recent[i].new_tokens += new_tokens
    if len(sim.crowd) > 0:
        _count_crowds(sim, r, 1)
    return i
