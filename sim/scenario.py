"""What to simulate: strict models of a scenario YAML. Every field has its unit in its name and its default here."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from workloads.errors import did_you_mean

from .errors import SimError, unknown_name
from .kernel.state import LONGEST_PS
from .strict_yaml import load_yaml

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=LONGEST_PS / 10**12)]
Count = Annotated[int, Field(ge=1, le=10**9)]


class Part(BaseModel):
    """Strict and frozen; an unknown key is an error that names the nearest known one."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class PoolOptions(Part):
    """What is generated of a client pool; see docs/composition.md."""

    rate_per_s: Positive | None = None  # of the whole; None: the pool's own
    scale: Positive = 1.0  # of every client's own rate
    start_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None  # in the pool's time; None: its start
    duration_s: Positive | None = None  # None: to the pool's end
    missing_lengths: Literal["refuse", "skip", "borrow"] | None = None  # of a ServeGen folder's clients; None: refuse


class WorkloadSource(Part):
    """Where the requests come from, and what is done to them, in the order of the fields."""

    builtin: str | None = None  # name of a built-in workload
    trace: str | None = None  # path of a trace; in a scenario file relative to that file
    format: str | None = None  # of the trace: see `servesim formats`
    pool: str | None = None  # see `servesim workload pools`; or a file of `workload fit`, or a ServeGen folder
    options: dict[str, Any] = {}  # of the format, of the built-in workload, or `PoolOptions`
    start_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None  # keep only arrivals in [start_s, end_s)
    end_s: Positive | None = None
    requests: Count | None = None  # keep only the first so many
    jitter: bool = False  # spread equal timestamps over the gap to the next
    time_scale: Positive = 1.0  # arrivals and think times times this
    rate_scale: Positive = 1.0  # arrivals divided by this, think times kept

    @model_validator(mode="after")
    def one_source(self) -> "WorkloadSource":
        if sum(source is not None for source in (self.trace, self.builtin, self.pool)) != 1:
            raise ValueError("give either `trace` (with `format`) or `builtin` or `pool`")
        if (self.trace is None) != (self.format is None):
            raise ValueError("`format` goes with `trace`; `servesim formats` lists the formats")
        if self.pool is not None:
            try:
                PoolOptions.model_validate(self.options)
            except ValidationError as error:
                raise ValueError(f"options: {first_problem(error, PoolOptions)}") from None
        if self.start_s is not None and self.end_s is not None and self.end_s <= self.start_s:
            raise ValueError(f"`end_s` {self.end_s:g} is not after `start_s` {self.start_s:g}")
        return self


class CacheTier(Part):
    """A place for cached blocks below the GPUs' own memory; see docs/engine-rules.md."""

    capacity_gb: Annotated[float, Field(gt=0, le=1e9)] | None = None  # 10^9 bytes; give this or `capacity_blocks`
    capacity_blocks: Count | None = None
    # Of each GPU, as it loads; None: the peak of its PCIe link (host memory) or of its network card (pool)
    bandwidth_gb_per_s: Annotated[float, Field(ge=0.001, le=1e6)] | None = None

    @model_validator(mode="after")
    def one_capacity(self) -> "CacheTier":
        if (self.capacity_gb is None) == (self.capacity_blocks is None):
            raise ValueError("give either `capacity_gb` or `capacity_blocks`")
        return self


class EngineOptions(Part):
    """Options of every instance's engine: vLLM V1's names, meanings and defaults. See docs/engine-rules.md."""

    block_size: Annotated[int, Field(ge=1, le=2**16)] = 16  # tokens a KV block
    num_blocks: Annotated[int, Field(ge=2, le=10**9)] | None = None  # None: what the GPU's memory holds
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9  # for weights, activations and KV cache
    # None: 1024 on GPUs with >= 70 GiB except A100, else 256
    max_num_seqs: Annotated[int, Field(ge=1, le=2**16)] | None = None
    max_num_batched_tokens: Annotated[int, Field(ge=1, le=2**20)] | None = None  # None: 8192 on those GPUs, else 2048
    # Tokens that a prefill may get in a step; 0 = no limit
    long_prefill_token_threshold: Annotated[int, Field(ge=0, le=2**20)] = 0
    kv_cache_dtype: str = "bf16"  # bf16, fp8, int4, or asymkv-K-V; see docs/latency.md
    prefix_caching: bool = True
    reserve_full_sequence: bool = True  # admit only what fits as a whole
    watermark: Annotated[float, Field(ge=0, lt=1)] = 0.0  # fraction of the blocks that admissions leave free
    batching: str = "vllm"  # vllm, sglang, sarathi, orca, static
    chunk_tokens: Annotated[int, Field(ge=1, le=2**20)] = 512  # in a step, decode requests included, with sarathi
    queue: str = "fcfs"  # fcfs, priority, shortest-prompt, longest-prefix-match
    # Which idle cached blocks go first: lru, fifo, lfu, gdsf or workload-aware; see docs/engine-rules.md
    eviction: str = "lru"
    async_scheduling: bool = True  # schedule a step while the one before it runs; vLLM's default since 0.14
    # Host memory of an instance, for what its GPUs evict; capacity a GPU. None: there is none
    host_cache: CacheTier | None = None
    overlap_loads: bool = True  # a step loads blocks, from host memory or the pool, while it computes


class RouterSignals(Part):
    """How the router sees the instances: as they are, or late, or not at all; see docs/routers.md."""

    # Between refreshes of an indicator; 0 = always fresh. Queued and running requests:
    requests_every_s: Seconds = 0.0
    tokens_every_s: Seconds = 0.0  # queued prefill tokens and decode KV tokens
    kv_every_s: Seconds = 0.0  # KV blocks in use
    hits_every_s: Seconds = 0.0  # what the engines cache
    prefix_index: Literal["engine", "router"] = "engine"  # what the engines cache, or what the router sent them
    prefix_ttl_s: Positive | None = None  # life of an entry of the router's index; None: unlimited
    prefix_capacity_tokens: Count | None = None  # that it keeps for an instance, the last used; None: unlimited

    @model_validator(mode="after")
    def limits_of_an_index(self) -> "RouterSignals":
        if self.prefix_index == "engine" and (self.prefix_ttl_s or self.prefix_capacity_tokens):
            raise ValueError("`prefix_ttl_s` and `prefix_capacity_tokens` go with `prefix_index: router`")
        if self.prefix_index == "router" and self.hits_every_s:
            raise ValueError("`hits_every_s` goes with `prefix_index: engine`; the router knows at once what it sent")
        return self


class AutoscalerOptions(Part):
    """Who decides how many instances there are, and within which limits; see docs/autoscaling.md."""

    policy: str = "slo"  # see `servesim autoscalers`
    options: dict[str, Any] = {}  # of the policy
    group: str | None = None  # of the fleet, whose instances it counts, adds and drains; None: the only one
    min_instances: Count = 1
    max_instances: Count
    interval_s: Annotated[float, Field(ge=0.1, le=LONGEST_PS / 10**12)] = 15.0  # between decisions
    cold_start_s: Seconds = 90.0  # of an added instance, until it accepts requests
    # An assumption for each: Kubernetes' HorizontalPodAutoscaler waits 0 and 300 s
    scale_out_cooldown_s: Seconds = 0.0  # between additions
    scale_in_cooldown_s: Seconds = 300.0  # for so long fewer instances must have been wanted
    ttft_s: Positive | None = None  # targets of the latencies that it watches
    tpot_s: Positive | None = None
    attainment: Annotated[float, Field(gt=0, lt=1)] = 0.99  # share of the requests that should be within them
    window_s: Positive = 60.0  # over which it measures rates and latencies

    @model_validator(mode="after")
    def limits(self) -> "AutoscalerOptions":
        if self.min_instances > self.max_instances:
            raise ValueError(f"`min_instances` {self.min_instances} is above `max_instances` {self.max_instances}")
        return self


class FaultOptions(Part):
    """When instances fail, alone or with their node, and how long that takes; see docs/faults.md."""

    instance_mtbf_s: Positive | None = None  # mean time between failures of an instance; None: it never fails alone
    instance_mttr_s: Positive = 1380.0  # mean time to repair a hard failure; Unicron's 9 min queue + 14 min environment
    node_mtbf_s: Positive | None = None  # the same of a node, with which all its instances fail
    node_mttr_s: Positive = 1380.0
    instances_per_node: Count | None = None  # None: as many as fit on 8 GPUs
    detection_s: Seconds = 1800.0  # until a failure is noticed: Unicron's 30 min time-out
    transient_share: Annotated[float, Field(ge=0, le=1)] = 0.73  # of failures that a restart repairs: Unicron
    restart_s: Seconds = 840.0  # how long that takes: Unicron's 14 min environment
    retry_backoff_s: Seconds = 0.0  # from the detection until the lost requests are at the router again

    @model_validator(mode="after")
    def something_fails(self) -> "FaultOptions":
        if self.instance_mtbf_s is None and self.node_mtbf_s is None:
            raise ValueError("nothing ever fails; give `instance_mtbf_s` or `node_mtbf_s`, or leave `faults` out")
        return self


SELECTORS = ("category", "priority", "client")


class SloClass(Part):
    """Targets of the requests that have all the given features; see docs/slo.md."""

    category: str | None = None
    priority: int | None = None
    client: int | None = None
    ttft_s: Positive | None = None  # at most so long, plus the slope times the prompt's tokens / 1000
    ttft_s_per_1k_input_tokens: Positive | None = None
    tpot_s: Positive | None = None
    e2e_s: Positive | None = None
    e2e_s_per_1k_input_tokens: Positive | None = None
    itl_p99_s: Positive | None = None  # over all tokens of the class
    attainment: Annotated[float, Field(gt=0, le=1)] = 0.99  # share of the requests that must meet each target

    @property
    def selectors(self) -> dict[str, Any]:
        """Those given, and what a request must have of each."""
        return {name: value for name in SELECTORS if (value := getattr(self, name)) is not None}

    @model_validator(mode="after")
    def some_target(self) -> "SloClass":
        targets = [name for name in SloClass.model_fields if name not in (*SELECTORS, "attainment")]
        if all(getattr(self, name) is None for name in targets):
            raise ValueError(f"has no target; give one of {', '.join(targets)}")
        return self


class InstanceKind(Part):
    """What an instance is."""

    gpu: str = "H20"  # see `servesim gpus`; or a YAML file
    model: str = "qwen2.5-7b"  # see `servesim models`; or a Hugging Face config.json
    precision: str | None = None  # of the weights: bf16, fp8, fp8-block, int4; None: the model's own
    # A YAML file, or a table of measured steps (docs/measuring.md); None: the one shipped for GPU and precision
    calibration: str | None = None
    serving_engine: str = "vllm"  # whose overheads it has: see `servesim engines`; or a YAML file
    tp: Count = 1  # tensor parallelism: GPUs that share each layer
    pp: Count = 1  # pipeline parallelism: stages that share the layers, so tp x pp GPUs an instance
    ep: Count = 1  # expert parallelism: over how many of the tp GPUs the experts are spread; see docs/latency.md
    # Exponent of the experts' power-law loads, 0 for uniformly random ones; None: the calibration's
    routing_skew: Annotated[float, Field(ge=0, le=10)] | None = None
    sparse_prefill: bool = False  # sparse attention over long prompts, as Qwen2.5-1M has it
    engine: EngineOptions = EngineOptions()


class InstanceGroup(InstanceKind):
    """Like instances of a fleet. In a scenario, a field that a group leaves out is the scenario's own."""

    name: Annotated[str, Field(min_length=1)]
    instances: Annotated[int, Field(ge=0, le=10**5)] = 1  # at the start; `add` operations start more
    weight: Positive = 1.0  # the load that the router gives an instance, relative to other groups'; see docs/routers.md

    def beside(self, scenario: InstanceKind) -> "InstanceGroup":
        """The group with what it leaves out from ``scenario``, engine options one by one."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        options = {name: getattr(self.engine, name) for name in self.engine.model_fields_set}
        given["engine"] = EngineOptions(**dict(scenario.engine) | options)
        return InstanceGroup(**{name: getattr(scenario, name) for name in InstanceKind.model_fields} | given)


class ControlOperation(Part):
    """Something that happens to an instance at a given time; see docs/engine-rules.md."""

    at_s: Seconds
    kind: Literal["add", "drain", "undrain", "freeze", "fail", "repair"]
    instance: Annotated[int, Field(ge=0)] | None = None  # `add` gives the next free index by itself
    startup_s: Seconds = 0.0  # of an added instance, until it accepts requests
    group: str | None = None  # of an added instance; None: the first
    backoff_s: Seconds = 0.0  # after `fail`, until its requests are at the router again


class Scenario(InstanceKind):
    """One run: a workload, a fleet, a router. Its instances are alike, or those of ``fleet``, whose groups have all
    their fields once the scenario is made.
    """

    workload: WorkloadSource
    instances: Annotated[int, Field(ge=1, le=10**5)] = 1  # of all groups together
    fleet: Annotated[list[InstanceGroup], Field(min_length=1, max_length=1000)] | None = None
    router: str = "lmetric"  # see `servesim routers`
    router_options: dict[str, Any] = {}  # of the policy; see docs/routers.md
    signals: RouterSignals = RouterSignals()
    kv_pool: CacheTier | None = None  # of the whole cluster, capacity in all; None: there is none
    operations: list[ControlOperation] = []
    autoscaler: AutoscalerOptions | None = None
    faults: FaultOptions | None = None
    series_interval_s: Annotated[float, Field(ge=0.001, le=LONGEST_PS / 10**12)] | None = (
        10.0  # between samples of every instance's state; None: no samples
    )
    slo: list[SloClass] = []  # a request belongs to the first class that takes it
    warmup_s: Seconds = 0.0  # requests that arrive before are simulated but not measured
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("slo")
    @classmethod
    def every_class_can_have_requests(cls, slo: list[SloClass]) -> list[SloClass]:
        for index, one in enumerate(slo):
            if one.selectors in [other.selectors for other in slo[:index]]:
                raise ValueError(f"class {index} has the same selectors as one before it; give each different ones")
            if not one.selectors and index < len(slo) - 1:
                raise ValueError(f"class {index} takes every request, so that none is left for the next; put it last")
        return slo

    @model_validator(mode="after")
    def whole_groups(self) -> "Scenario":
        if self.fleet is not None:
            total = sum(group.instances for group in self.fleet)
            if "instances" in self.model_fields_set and self.instances != total:
                raise ValueError(
                    "`instances` goes with instances that are all alike; each group of `fleet` has its own"
                )
            twice = [name for name, count in Counter(group.name for group in self.fleet).items() if count > 1]
            if twice:
                raise ValueError(f"fleet: two groups have the name {twice[0]!r}; give each its own")
            # Frozen for others: here the scenario is still being made.
            object.__setattr__(self, "fleet", [group.beside(self) for group in self.fleet])
            object.__setattr__(self, "instances", total)
        for at, operation in enumerate(self.operations):
            if operation.group is not None:
                self._check_group(f"operations.{at}.group", operation)
        return self

    def _check_group(self, where: str, operation: ControlOperation) -> None:
        if operation.kind != "add":
            raise ValueError(f"{where}: only `add` starts an instance; leave it out")
        names = [group.name for group in self.groups()]
        if operation.group not in names:
            raise ValueError(unknown_name(where, str(operation.group), names))

    def groups(self) -> list[InstanceGroup]:
        """The groups of the fleet; instances that are all alike are one, named ``all``."""
        if self.fleet is not None:
            return self.fleet
        return [InstanceGroup(name="all", instances=self.instances).beside(self)]


def fleet_label(groups: Sequence[InstanceGroup]) -> str:
    """As in `4 x H20 + 2 x H800 (TP 2)`."""
    return " + ".join(
        f"{group.instances} x {group.gpu}{f' (TP {group.tp})' if group.tp > 1 else ''}" for group in groups
    )


def read_scenario(path: str | Path) -> dict[str, Any]:
    """The fields of a scenario file, not yet validated. Files that it names are looked for beside it."""
    try:
        fields = load_yaml(Path(path).read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise SimError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SimError(f"{path}: is no text file") from None
    if not isinstance(fields, dict):
        raise SimError(f"{path}: expected fields with values, found {type(fields).__name__}")
    locate(fields, Path(path).parent)
    return fields


def locate(fields: dict[str, Any], folder: Path) -> None:
    """Let the files that a scenario's ``fields`` name be looked for in ``folder``."""
    source = fields.get("workload")
    fleet = fields.get("fleet")
    kinds = [fields, *(fleet if isinstance(fleet, list) else ())]
    named = [(kind, name) for kind in kinds for name in ("gpu", "model", "calibration", "serving_engine")]
    for part, name in [(source, "trace"), (source, "pool"), *named]:
        if isinstance(part, dict) and isinstance(part.get(name), str):
            beside = folder / part[name]
            if name == "trace" or beside.is_file() or (name == "pool" and beside.is_dir()):
                part[name] = str(beside)


def make_scenario(fields: dict[str, Any], where: str = "scenario") -> Scenario:
    """A validated scenario; raises `SimError` with the first problem, in one line that starts with ``where``."""
    try:
        return Scenario.model_validate(fields)
    except ValidationError as error:
        raise SimError(f"{where}: {first_problem(error, Scenario)}") from None


def first_problem(error: ValidationError, whole: type[Part]) -> str:
    """The first problem with the fields of ``whole``, unknown keys before others, and how many more there are."""
    problems = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{_problem(problems[0], whole)}{more}"


def _problem(problem: Any, whole: type[Part]) -> str:
    field = ".".join(map(str, problem["loc"]))
    if problem["type"] == "extra_forbidden":
        hint = did_you_mean(str(problem["loc"][-1]), _fields_beside(problem["loc"], whole))
        return f"{field}: unknown key; {hint}"
    if problem["type"] == "model_type":
        return f"{field}: expected fields with values, found {problem['input']!r}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{field}: is missing; give it a value"
    shown = f", found {problem['input']!r}" if not isinstance(problem["input"], (dict, list)) else ""
    return f"{field}: {message[0].lower()}{message[1:]}{shown}" if field else message


def _fields_beside(location: tuple[str | int, ...], whole: type[Part]) -> list[str]:
    """The known keys at the place where the last part of ``location`` is not one."""
    parts: dict[str, type[Part]] = {
        "workload": WorkloadSource,
        "engine": EngineOptions,
        "operations": ControlOperation,
        "signals": RouterSignals,
        "autoscaler": AutoscalerOptions,
        "faults": FaultOptions,
        "slo": SloClass,
        "fleet": InstanceGroup,
        "host_cache": CacheTier,
        "kv_pool": CacheTier,
    }
    inside = [parts[step] for step in location[:-1] if step in parts]  # type: ignore[index]
    return list((inside[-1] if inside else whole).model_fields)
