"""From a scenario to a result."""

from collections.abc import Callable

import numpy as np

import workloads
from hardware_profiles import Gpu, load_calibration, load_gpu, load_model, quantities
from workloads import Workload, WorkloadError

from .cluster import PS_PER_S, Cluster, Operation, Progress
from .errors import SimError
from .kernel.build import Engine, Requests
from .kv_capacity import kv_blocks
from .latency import LatencyModel
from .result import Result
from .routing import PythonRouter, RoutedRequest
from .scenario import EngineOptions, Scenario, WorkloadSource

WORKLOAD_STREAM, JITTER_STREAM, ROUTER_STREAM = range(3)  # one random stream a purpose
LARGE_GPU_GIB = 70  # from here on vLLM's API server takes the larger defaults
LONGEST_RUN_S = 9_000_000  # the clock counts picoseconds in 64 bits: 106 days


def simulate(
    scenario: Scenario,
    workload: Workload | None = None,
    router: PythonRouter | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Run a scenario. ``workload`` and ``router`` (a Python router) stand in for the scenario's own.

    Raises `SimError`, `workloads.WorkloadError` or `hardware_profiles.ProfileError`, each with a one-line message.
    """
    requests = load_workload(scenario) if workload is None else workload
    gpu, model = load_gpu(scenario.gpu), load_model(scenario.model)
    calibration = load_calibration(gpu.name, "bf16")
    latency = LatencyModel(model, gpu, calibration, scenario.tp)
    max_num_seqs, max_num_batched_tokens = batch_limits(scenario.engine, gpu)
    options = scenario.engine
    engine = Engine(
        num_blocks=options.num_blocks
        or kv_blocks(
            model,
            gpu,
            scenario.tp,
            options.block_size,
            max_num_batched_tokens,
            max_num_seqs,
            options.gpu_memory_utilization,
        ),
        block_size=options.block_size,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        long_prefill_token_threshold=options.long_prefill_token_threshold,
        prefix_caching=options.prefix_caching,
        reserve_full_sequence=options.reserve_full_sequence,
        watermark=options.watermark,
        queue=options.queue,
    )
    cluster = Cluster(
        kernel_requests(requests),
        engine,
        latency.step_tables(max_num_batched_tokens, max_num_seqs),
        scenario.instances,
        router or scenario.router,
        stream_seed(scenario.seed, ROUTER_STREAM),
        describe=lambda r: _describe(cluster, requests, r),
    )
    cluster.run(
        [
            Operation(to_ps(operation.at_s), operation.kind, operation.instance, to_ps(operation.startup_s))
            for operation in scenario.operations
        ],
        sample_interval_ps=None if scenario.series_interval_s is None else to_ps(scenario.series_interval_s),
        progress=progress,
    )
    profiles = {"gpu": gpu, "calibration": calibration}
    assumptions = {
        f"{kind}.{path}": quantity.reason or ""
        for kind, profile in profiles.items()
        for path, quantity in quantities(profile).items()
        if quantity.assumption
    }
    return Result(scenario, requests, cluster, latency.front_end_s, assumptions)


def load_workload(scenario: Scenario) -> Workload:
    """The scenario's requests, transformed as it says."""
    source = scenario.workload
    workload = _transform(_read(source, scenario.seed), source, scenario.seed)
    if float(np.nanmax(workload.arrival_s)) > LONGEST_RUN_S:
        raise WorkloadError(
            f"arrival_s: {float(np.nanmax(workload.arrival_s)):.0f} s is beyond the {LONGEST_RUN_S} s that a run can "
            "last; slice the workload (start_s, end_s), which makes times count from start_s"
        )
    return workload


def _read(source: WorkloadSource, seed: int) -> Workload:
    if source.builtin is not None:
        return workloads.generate(source.builtin, seed=stream_seed(seed, WORKLOAD_STREAM), **source.options)
    assert source.trace is not None and source.format is not None  # WorkloadSource checks it
    return workloads.load(source.trace, source.format, **source.options)


def _transform(workload: Workload, source: WorkloadSource, seed: int) -> Workload:
    if source.start_s is not None or source.end_s is not None:
        workload = workload.slice(source.start_s or 0.0, source.end_s or float("inf"))
    if source.requests is not None:
        workload = workload.head(source.requests)
    if source.jitter:
        workload = workload.jitter(stream_seed(seed, JITTER_STREAM))
    if source.time_scale != 1.0:
        workload = workload.scale_time(source.time_scale)
    if source.rate_scale != 1.0:
        workload = workload.scale_rate(source.rate_scale)
    return workload


def batch_limits(options: EngineOptions, gpu: Gpu) -> tuple[int, int]:
    """(max_num_seqs, max_num_batched_tokens): as given, else the defaults of vLLM's API server for the GPU."""
    large = gpu.usable_memory_bytes >= LARGE_GPU_GIB * 2**30 and "a100" not in gpu.name.lower()
    max_num_seqs = options.max_num_seqs or (1024 if large else 256)
    max_num_batched_tokens = options.max_num_batched_tokens or (8192 if large else 2048)
    if max_num_batched_tokens < max_num_seqs:
        raise SimError(
            f"engine.max_num_batched_tokens: {max_num_batched_tokens} is below max_num_seqs {max_num_seqs}; "
            "a step needs a token for every running request, so raise it or lower max_num_seqs"
        )
    return max_num_seqs, max_num_batched_tokens


def kernel_requests(workload: Workload) -> Requests:
    """The columns that the kernel needs, times in picoseconds."""
    return Requests(
        arrival_ps=np.rint(np.nan_to_num(workload.arrival_s) * PS_PER_S).astype(np.int64),
        input_tokens=workload.input_tokens,
        output_tokens=workload.output_tokens,
        priority=workload.priority,
        parent=workload.parent,
        think_ps=np.rint(workload.think_s * PS_PER_S).astype(np.int64),
        prefix_request=workload.prefix_request,
        prefix_tokens=workload.prefix_tokens,
    )


def to_ps(seconds: float) -> int:
    """Seconds to the kernel's integer picoseconds."""
    return round(seconds * PS_PER_S)


def stream_seed(seed: int, purpose: int) -> int:
    """A 64-bit seed of its own for each purpose, so that one use of randomness never disturbs another."""
    return int(np.random.SeedSequence(seed, spawn_key=(purpose,)).generate_state(1, np.uint64)[0])


def _describe(cluster: Cluster, workload: Workload, r: int) -> RoutedRequest:
    return RoutedRequest(
        id=r,
        arrival_s=int(cluster.state.req["arrival"][r]) / PS_PER_S,
        input_tokens=int(workload.input_tokens[r]),
        priority=int(workload.priority[r]),
        client=int(workload.client[r]),
        session=int(workload.session[r]),
        turn=int(workload.turn[r]),
        category=workload.category_names[workload.category[r]],
    )
