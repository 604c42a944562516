"""Run one case in this process and print what it cost, as a line of JSON. `bench.py` starts it once a case."""

import json
import platform
import resource
import sys
import time
from pathlib import Path

import numba
from cases import CASES, Case
from traffic import clients, h20_engine, traffic_of

from sim.cluster import PS_PER_S, Cluster
from sim.kernel.build import Group
from sim.simulation import kernel_requests

WARM_UP_REQUESTS = 200


def measure(case: Case) -> dict[str, object]:
    """Cost of building the kernel's state and running it. Rates are per CPU second."""
    engine, steps = h20_engine()
    warm_up = kernel_requests(clients(WARM_UP_REQUESTS, rate_per_s=10.0))
    Cluster(warm_up, [Group(engine, steps, case.instances)], case.router).run()

    generation_s = time.process_time()
    requests = kernel_requests(traffic_of(case))
    generation_s = time.process_time() - generation_s

    cpu_s, wall_s = time.process_time(), time.perf_counter()
    cluster = Cluster(requests, [Group(engine, steps, case.instances)], case.router)
    build_s = time.process_time() - cpu_s
    cluster.run()
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s

    state = cluster.state
    count, iterations = len(state.req), int(state.inst["iteration"].sum())
    return {
        "name": case.name,
        "requests": count,
        "instances": case.instances,
        "router": case.router,
        "cpu_s": round(cpu_s, 4),
        "target_cpu_s": case.target_cpu_s,
        "build_cpu_s": round(build_s, 4),
        "wall_s": round(wall_s, 4),
        "generation_cpu_s": round(generation_s, 4),
        "requests_per_s": round(count / cpu_s),
        "iterations_per_s": round(iterations / cpu_s),
        "iterations": iterations,
        "events": int(state.cluster["events"][0]),
        "simulated_s": round(float(state.req["finish"].max()) / PS_PER_S, 1),
        "preemptions": int(state.inst["preemptions"].sum()),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),  # KiB on Linux
        "cpu": cpu_model(),
        "python": platform.python_version(),
        "numba": numba.__version__,
    }


def cpu_model() -> str:
    """As Linux names it; elsewhere the architecture."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    try:
        print(json.dumps(measure(CASES[sys.argv[1]])))
    except FileNotFoundError as error:
        print(json.dumps({"name": sys.argv[1], "skipped": str(error)}))
