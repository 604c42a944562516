"""What runs on an instance: a model, split over GPUs of one type, in given bits, with that GPU's constants."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hardware_profiles import (
    Calibration,
    EngineProfile,
    Gpu,
    KvFormat,
    ModelShape,
    ModelShard,
    Precision,
    ProfileError,
    kv_format,
    load_calibration,
    load_engine,
    load_gpu,
    load_model,
    precision,
    quantities,
)
from hardware_profiles.attention import LatentAttention
from hardware_profiles.measured_step import MeasuredStep, load_measured_step
from hardware_profiles.operators.collective import NODE_GPUS

from .scenario import InstanceGroup, InstanceKind, Scenario

TABLES = (".parquet", ".csv")  # suffixes of a table of measured steps


@dataclass(frozen=True)
class Deployment:
    """One instance: `tp` x `pp` GPUs hold the model's weights at `precision` and its KV cache in `kv_format`.

    `calibration` has the constants at that precision, `plain` those in bf16 for what is never quantised (LM head,
    routers), `engine` the overheads of the serving engine. `routing_skew` is the exponent of the experts' power-law
    loads, 0 for uniformly random ones. Raises `ProfileError` where the parts do not fit each other.
    """

    model: ModelShape
    gpu: Gpu
    precision: Precision
    kv_format: KvFormat
    calibration: Calibration
    plain: Calibration
    engine: EngineProfile
    tp: int = 1
    pp: int = 1
    ep: int = 1
    routing_skew: float = 0.0
    sparse_prefill: bool = False
    measured_step: MeasuredStep | None = None  # whole steps, in place of the sum of operators

    def __post_init__(self) -> None:
        for calibration in (self.calibration, self.plain):
            if calibration.gpu.casefold() != self.gpu.name.casefold():
                raise ProfileError(f"calibration is for GPU {calibration.gpu!r}, not for {self.gpu.name!r}")
        if self.measured_step and self.pp > 1:
            raise ProfileError(
                f"{self.measured_step.path}: measured steps are of one stage; pipeline parallelism {self.pp}"
            )
        self.gpu.peak_flops_per_s(self.precision.peak)
        self.shard.check(self.kv_format)
        windows = sorted({group.window for group in self.shard.groups if group.window is not None})
        if len(windows) > 1:
            raise ProfileError(f"{self.model.name}: sliding windows of {windows} tokens; one size a model is covered")
        in_node = min(self.tp, NODE_GPUS)
        if self.tp > 1 and (in_node not in self.calibration.all_reduce or self.tp % in_node):
            sizes = ", ".join(map(str, sorted(self.calibration.all_reduce)))
            raise ProfileError(
                f"calibration of {self.gpu.name}: all_reduce: nothing for tensor parallelism {self.tp} "
                f"(has {sizes}, and multiples of {NODE_GPUS} across nodes)"
            )

    @cached_property
    def shard(self) -> ModelShard:
        """One GPU's share of the model."""
        return self.model.shard(self.tp, self.pp, self.ep)

    @property
    def gpus(self) -> int:
        """GPUs of an instance."""
        return self.tp * self.pp

    @property
    def assumptions(self) -> dict[str, str]:
        """The constants that its step times use and nobody measured, each with the reason for its value."""
        found = {f"gpu.{path}": quantity for path, quantity in quantities(self.gpu).items()}
        found |= {f"engine.{path}": quantity for path, quantity in quantities(self.engine).items()}
        calibration = {} if self.measured_step else quantities(self.calibration)
        for path, quantity in calibration.items():
            if path.startswith(self._sections):
                found[f"calibration.{path}"] = quantity
        return {path: quantity.reason or "" for path, quantity in found.items() if quantity.assumption}

    @property
    def _sections(self) -> tuple[str, ...]:
        """Where the constants of the calibration stand that its step times use."""
        used = ["gemm.", "elementwise."]
        latent = isinstance(self.shard.attention, LatentAttention)
        prefill, decode = ("latent_prefill", "latent_decode") if latent else ("prefill_attention", "decode_attention")
        used += [f"{prefill}.", f"{decode}.{self.kv_format.family}."]
        if self.tp > 1:
            in_node = min(self.tp, NODE_GPUS)
            used += [f"all_reduce.{in_node}.", f"all_gather.{in_node}."]
        if self.pp > 1 or self.tp > NODE_GPUS:
            used += ["send_recv."]
        if any(group.moe for group in self.shard.groups):
            used += ["moe.", "routing."]
        return tuple(used)


@contextmanager
def naming(scenario: Scenario, group: InstanceGroup) -> Iterator[None]:
    """An error about a group of a fleet says which one it is."""
    try:
        yield
    except ProfileError as error:
        if scenario.fleet is None:
            raise
        raise ProfileError(f"fleet: group {group.name!r}: {error}") from None


def deployments(scenario: Scenario) -> list[Deployment]:
    """The deployment of each group."""
    found = []
    for group in scenario.groups():
        with naming(scenario, group):
            found.append(deployment(group))
    return found


def deployment(kind: InstanceKind) -> Deployment:
    """The deployment of an instance. Raises `ProfileError` for what is unknown or does not fit."""
    gpu, model = load_gpu(kind.gpu), load_model(kind.model)
    weights = precision(kind.precision) if kind.precision else model.precision
    gpu.peak_flops_per_s(weights.peak)  # refuses a precision that the GPU has no units for
    own = kind.calibration or gpu.name
    measured_step = load_measured_step(Path(own)) if own.endswith(TABLES) else None
    calibration = load_calibration(gpu.name if measured_step else own, weights.name)
    plain = calibration if weights.name == "bf16" else load_calibration(gpu.name, "bf16")
    return Deployment(
        model=model,
        gpu=gpu,
        precision=weights,
        kv_format=kv_format(kind.engine.kv_cache_dtype),
        calibration=calibration,
        plain=plain,
        engine=load_engine(kind.serving_engine),
        tp=kind.tp,
        pp=kind.pp,
        ep=kind.ep,
        routing_skew=calibration.routing.skew.value if kind.routing_skew is None else kind.routing_skew,
        sparse_prefill=kind.sparse_prefill,
        measured_step=measured_step,
    )
