"""Requests per second of one saturated instance: the benchmark's rates are 80 % of it.

Run as `PYTHONPATH=. .venv/bin/python benchmarks/saturation.py`.
"""

import numpy as np
from cases import CHAT, CLIENTS
from traffic import chat, clients, h20_engine

from sim.cluster import PS_PER_S, Cluster
from sim.kernel.build import Group
from sim.simulation import kernel_requests

REQUESTS = 20_000


def main() -> None:
    engine, steps = h20_engine()
    for name, make in ((CHAT, chat), (CLIENTS, clients)):
        requests = kernel_requests(make(REQUESTS, rate_per_s=1.0))
        at_once = requests._replace(arrival_ps=np.zeros(REQUESTS, np.int64))
        cluster = Cluster(at_once, [Group(engine, steps, 1)], router="round-robin")
        cluster.run()
        saturation = REQUESTS / (cluster.state.req["finish"].max() / PS_PER_S)
        print(f"{name}: {saturation:.2f} requests/s saturated, 80 % is {0.8 * saturation:.2f}")


if __name__ == "__main__":
    main()
