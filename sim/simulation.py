"""From a scenario to a result."""

from collections.abc import Callable

import numpy as np

import workloads
from hardware_profiles import Gpu
from workloads import Workload, WorkloadError, compose

from .autoscaling.scaler import Scaler
from .autoscaling.view import PythonAutoscaler
from .cluster import Cluster, Progress
from .deployment import Deployment, deployments, naming
from .errors import SimError
from .eviction.workload_aware import TURNS
from .faults import Faults
from .kernel.build import Engine, Group, Requests
from .kernel.router_memory import RouterMemory
from .kernel.state import LONGEST_PS, NEVER
from .kv_capacity import kv_blocks
from .latency import LatencyModel
from .operations import PS_PER_S, Operation
from .pool_source import read_pool
from .result import Result
from .routing import PythonRouter, RoutedRequest
from .scenario import CacheTier, EngineOptions, InstanceGroup, PoolOptions, RouterSignals, Scenario, WorkloadSource
from .slo import itl_classes, slo_classes
from .tiers import check_pool, tier_assumptions, tier_options

WORKLOAD_STREAM, JITTER_STREAM, ROUTER_STREAM, FAULT_STREAM = range(4)  # one random stream a purpose
LARGE_GPU_GIB = 70  # from here on vLLM's API server takes the larger defaults
LONGEST_RUN_S = LONGEST_PS // PS_PER_S


def simulate(
    scenario: Scenario,
    workload: Workload | None = None,
    router: PythonRouter | None = None,
    progress: Callable[[Progress], None] | None = None,
    autoscaler: PythonAutoscaler | None = None,
) -> Result:
    """Run a scenario. ``workload``, ``router`` (a Python router) and ``autoscaler`` (a policy in Python, within the
    limits of the scenario's `autoscaler`) stand in for the scenario's own.

    Raises `SimError`, `workloads.WorkloadError` or `hardware_profiles.ProfileError`, each with a one-line message.
    """
    given = {}
    if workload is not None:
        given["workload"] = f"{len(workload)} requests"
    if router is not None:
        given["router"] = getattr(router, "__qualname__", type(router).__qualname__)
    if autoscaler is not None:
        given["autoscaler"] = getattr(autoscaler, "__qualname__", type(autoscaler).__qualname__)
    requests = load_workload(scenario) if workload is None else workload
    return run_scenario(scenario, requests, router, progress, given, autoscaler)


def run_scenario(
    scenario: Scenario,
    requests: Workload,
    router: PythonRouter | None = None,
    progress: Callable[[Progress], None] | None = None,
    given: dict[str, str] | None = None,
    autoscaler: PythonAutoscaler | None = None,
    trace_window_s: tuple[float, float] | None = None,
) -> Result:
    """The same for requests already loaded; ``given`` names what does not come from the scenario. What instances do
    from and until ``trace_window_s`` is kept for `trace_events.write_trace_events`.
    """
    of_class = itl_classes(scenario.slo, slo_classes(scenario.slo, requests))
    columns = kernel_requests(requests)._replace(itl_class=of_class)
    tokens = columns.input_tokens.astype(np.int64) + columns.output_tokens
    deployed = deployments(scenario)
    groups = _groups(scenario, deployed, int(tokens.max()))
    cluster = Cluster(
        columns,
        groups,
        router or scenario.router,
        stream_seed(scenario.seed, ROUTER_STREAM),
        describe=lambda r, arrival_s: _describe(requests, r, arrival_s),
        router_options=scenario.router_options,
        memory=router_memory(scenario.signals, requests, groups[0].engine.block_size),
        warm_up_ps=to_ps(scenario.warmup_s),
    )
    front_end_s = np.stack([LatencyModel(one).front_end_s(requests.input_tokens) for one in deployed])
    if scenario.autoscaler is not None:
        Scaler(cluster, scenario.autoscaler, front_end_s, autoscaler)
    elif autoscaler is not None:
        raise SimError("autoscaler: the scenario has none; give it at least `max_instances`")
    faults = None
    if scenario.faults is not None:
        faults = Faults(cluster, scenario.faults, stream_seed(scenario.seed, FAULT_STREAM))
    cluster.run(
        _operations(scenario),
        sample_interval_ps=None if scenario.series_interval_s is None else to_ps(scenario.series_interval_s),
        progress=progress,
        jumps_ps=None if trace_window_s is None else (to_ps(trace_window_s[0]), to_ps(trace_window_s[1])),
    )
    last_arrival_s = int(cluster.state.req["arrival"].max()) / PS_PER_S
    if last_arrival_s < scenario.warmup_s:
        raise SimError(
            f"warmup_s: no request arrives after {scenario.warmup_s:g} s, so none is measured; the last comes at "
            f"{last_arrival_s:g} s, use less"
        )
    served_by = cluster.group_of_requests
    context_tokens = np.array([one.model.max_position_embeddings for one in deployed])
    return Result(
        scenario,
        requests,
        cluster,
        front_end_s[served_by, np.arange(len(served_by))],
        faults,
        _assumptions(scenario, deployed),
        given or {},
        beyond_context=int((tokens > context_tokens[served_by]).sum()),
    )


def _operations(scenario: Scenario) -> list[Operation]:
    names = [group.name for group in scenario.groups()]
    return [
        Operation(
            to_ps(operation.at_s),
            operation.kind,
            operation.instance,
            to_ps(operation.startup_s),
            to_ps(operation.backoff_s),
            0 if operation.group is None else names.index(operation.group),
        )
        for operation in scenario.operations
    ]


def _assumptions(scenario: Scenario, deployed: list[Deployment]) -> dict[str, str]:
    """Those of all groups; those of a fleet under the name of their group."""
    found: dict[str, str] = {}
    for group, one in zip(scenario.groups(), deployed, strict=True):
        of_tiers = tier_assumptions(group.engine, scenario.kv_pool, one)
        beside = "" if scenario.fleet is None else f"{group.name}."
        found |= {f"{beside}{path}": reason for path, reason in (one.assumptions | of_tiers).items()}
    return found


def _groups(scenario: Scenario, deployed: list[Deployment], longest_request_tokens: int) -> list[Group]:
    built = []
    for group, one in zip(scenario.groups(), deployed, strict=True):
        with naming(scenario, group):
            built.append(_group(group, scenario.kv_pool, one, longest_request_tokens))
    check_pool(scenario, [group.engine.pool_blocks for group in built])
    return built


def _group(group: InstanceGroup, pool: CacheTier | None, deployed: Deployment, longest_request_tokens: int) -> Group:
    engine = engine_of(group.engine, pool, deployed)
    # `Cluster` refuses a longer one than an instance holds: no tables for it (its last token is never computed).
    longest_request_tokens = min(longest_request_tokens, engine.usable_blocks * engine.block_size + 1)
    limits = (engine.max_num_batched_tokens, engine.max_num_seqs, longest_request_tokens)
    steps = LatencyModel(deployed).step_tables(*limits)
    return Group(engine, steps, group.instances, group.weight, group.name, group.tp * group.pp)


def engine_of(options: EngineOptions, pool: CacheTier | None, deployed: Deployment) -> Engine:
    """The engine of an instance, defaults and KV blocks filled in."""
    max_num_seqs, max_num_batched_tokens = batch_limits(options, deployed.gpu)
    num_blocks = options.num_blocks
    if num_blocks is None:
        num_blocks = kv_blocks(
            deployed.model,
            deployed.gpu,
            deployed.tp,
            options.block_size,
            max_num_batched_tokens,
            max_num_seqs,
            options.gpu_memory_utilization,
            deployed.pp,
            deployed.ep,
            deployed.precision,
            deployed.kv_format,
        )
    return Engine(
        num_blocks=num_blocks,
        block_size=options.block_size,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        long_prefill_token_threshold=options.long_prefill_token_threshold,
        prefix_caching=options.prefix_caching,
        reserve_full_sequence=options.reserve_full_sequence,
        watermark=options.watermark,
        queue=options.queue,
        eviction=options.eviction,
        stages=deployed.pp,
        async_scheduling=options.async_scheduling,
        batching=options.batching,
        chunk_tokens=options.chunk_tokens,
        **tier_options(options, pool, deployed)._asdict(),
    )


def router_memory(signals: RouterSignals, requests: Workload, block_size: int) -> RouterMemory:
    """What the router knows beside its policy."""
    return RouterMemory(
        session=requests.session,
        client=requests.client,
        requests_every_ps=to_ps(signals.requests_every_s),
        tokens_every_ps=to_ps(signals.tokens_every_s),
        kv_every_ps=to_ps(signals.kv_every_s),
        hits_every_ps=to_ps(signals.hits_every_s),
        own_index=signals.prefix_index == "router",
        note_life_ps=LONGEST_PS if signals.prefix_ttl_s is None else to_ps(signals.prefix_ttl_s),
        note_blocks=NEVER if signals.prefix_capacity_tokens is None else signals.prefix_capacity_tokens // block_size,
    )


def load_workload(scenario: Scenario) -> Workload:
    """The scenario's requests, transformed as it says."""
    source = scenario.workload
    return _transform(_read(source, scenario.seed), source, scenario.seed)


def _read(source: WorkloadSource, seed: int) -> Workload:
    if source.builtin is not None:
        return workloads.generate(source.builtin, stream_seed(seed, WORKLOAD_STREAM), options=source.options)
    if source.pool is not None:
        options = PoolOptions.model_validate(source.options).model_dump()
        pool = read_pool(source.pool, options.pop("missing_lengths"))
        return compose.generate(pool, seed=stream_seed(seed, WORKLOAD_STREAM), **options)
    assert source.trace is not None and source.format is not None  # WorkloadSource checks it
    return workloads.load(source.trace, source.format, **source.options)


def _transform(workload: Workload, source: WorkloadSource, seed: int) -> Workload:
    if source.start_s is not None or source.end_s is not None:
        end_s = float("inf") if source.end_s is None else source.end_s
        workload = workload.slice(source.start_s or 0.0, end_s)
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
    max_num_seqs, max_num_batched_tokens = options.max_num_seqs, options.max_num_batched_tokens
    return (
        (1024 if large else 256) if max_num_seqs is None else max_num_seqs,
        (8192 if large else 2048) if max_num_batched_tokens is None else max_num_batched_tokens,
    )


def kernel_requests(workload: Workload) -> Requests:
    """The columns that the kernel needs, times in picoseconds. Raises `WorkloadError` for a time beyond its clock."""
    for column in ("arrival_s", "think_s"):
        times_s = np.nan_to_num(getattr(workload, column))
        if times_s.max() > LONGEST_RUN_S:
            row = int(np.argmax(times_s > LONGEST_RUN_S))
            raise WorkloadError(
                f"{times_s[row]:g} s is beyond the {LONGEST_RUN_S:,} s that a run can last; slice the workload "
                "(start_s, end_s), after which times count from the start, or correct its time unit or scale",
                column,
                row,
            )
    return Requests(
        arrival_ps=np.rint(np.nan_to_num(workload.arrival_s) * PS_PER_S).astype(np.int64),
        input_tokens=workload.input_tokens,
        output_tokens=workload.output_tokens,
        priority=workload.priority,
        parent=workload.parent,
        think_ps=np.rint(workload.think_s * PS_PER_S).astype(np.int64),
        prefix_request=workload.prefix_request,
        prefix_tokens=workload.prefix_tokens,
        reuse_class=workload.category * TURNS + np.minimum(workload.turn, TURNS - 1),
        itl_class=np.zeros(len(workload), np.int64),
    )


def to_ps(seconds: float) -> int:
    """Seconds to the kernel's integer picoseconds."""
    return round(seconds * PS_PER_S)


def stream_seed(seed: int, purpose: int) -> int:
    """A 64-bit seed of its own for each purpose, so that one use of randomness never disturbs another."""
    return int(np.random.SeedSequence(seed, spawn_key=(purpose,)).generate_state(1, np.uint64)[0])


def _describe(workload: Workload, r: int, arrival_s: float) -> RoutedRequest:
    return RoutedRequest(
        id=r,
        arrival_s=arrival_s,
        input_tokens=int(workload.input_tokens[r]),
        priority=int(workload.priority[r]),
        client=int(workload.client[r]),
        session=int(workload.session[r]),
        turn=int(workload.turn[r]),
        category=workload.category_names[workload.category[r]],
    )
