"""Measure what one choice of a policy costs, amid a run at 80 % load, and print it as a line of JSON. `bench.py` starts
it once a case.
"""

import json
import platform
import sys
import time
from dataclasses import replace

import numba
import numpy as np
from cases import CLIENTS, ROUTING_CASES, RoutingCase
from measure import cpu_model
from numba import njit
from traffic import RATE_PER_INSTANCE_S, clients, h20_engine

from sim.cluster import Cluster
from sim.kernel.advance import advance
from sim.kernel.build import Group, grow_pools
from sim.kernel.indirect import call_router, router_address
from sim.kernel.router_memory import RouterMemory
from sim.kernel.state import GROW, NEVER
from sim.routing import find_router, parse_router
from sim.simulation import kernel_requests

REQUESTS_PER_INSTANCE = 300
CHOICES = 20_000


@njit
def _choose(sim, router, first, last, choices):
    """Route the root requests of these positions over and over, without assigning them."""
    total = 0
    for k in range(choices):
        total += call_router(router, sim, sim.roots[first + k % (last - first)])
    return total


def measure(case: RoutingCase) -> dict[str, object]:
    """Cost of a choice, in CPU microseconds; the requests are those that arrive next."""
    engine, steps = h20_engine()
    rate_per_s = RATE_PER_INSTANCE_S[CLIENTS] * case.instances
    workload = clients(REQUESTS_PER_INSTANCE * case.instances, rate_per_s)
    requests = kernel_requests(workload)
    name, options = parse_router(case.router)
    memory = RouterMemory(session=workload.session, client=workload.client)
    cluster = Cluster(requests, [Group(engine, steps, case.instances)], name, router_options=options, memory=memory)
    router = router_address(find_router(name, options)[0].function)
    half_ps = int(np.median(requests.arrival_ps))
    while advance(cluster.state, half_ps, router, NEVER // 2) == GROW:
        cluster.state = grow_pools(cluster.state)
    state = cluster.state
    log = np.zeros(len(state.log) + 2 * CHOICES, state.log.dtype)
    log[: len(state.log)] = state.log
    state = replace(state, log=log)
    first = int(state.cluster["next_root"][0])
    last = min(first + 1000, len(state.roots))
    _choose(state, router, first, last, CHOICES // 10)
    cpu_s = time.process_time()
    _choose(state, router, first, last, CHOICES)
    cpu_s = time.process_time() - cpu_s
    return {
        "name": case.name,
        "instances": case.instances,
        "router": case.router,
        "cpu_s": round(cpu_s, 4),
        "us_per_choice": round(cpu_s / CHOICES * 1e6, 3),
        "target_us": case.target_us,
        "cpu": cpu_model(),
        "python": platform.python_version(),
        "numba": numba.__version__,
    }


if __name__ == "__main__":
    print(json.dumps(measure(ROUTING_CASES[sys.argv[1]])))
