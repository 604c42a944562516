"""An engine that was measured, as a scenario."""

from dataclasses import dataclass

from ..scenario import EngineOptions, Scenario, WorkloadSource


@dataclass(frozen=True)
class MeasuredEngine:
    """``model``, ``gpu`` and ``serving_engine`` are names of profiles; ``tp`` and ``pp`` GPUs share the model."""

    model: str
    gpu: str
    serving_engine: str
    precision: str
    tp: int
    pp: int

    def scenario(self, source: str, options: EngineOptions | None = None) -> Scenario:
        """One instance; ``source`` names what was measured, in the place of the scenario's trace."""
        return Scenario(
            workload=WorkloadSource(trace=source, format="measured"),
            gpu=self.gpu,
            model=self.model,
            precision=self.precision,
            serving_engine=self.serving_engine,
            tp=self.tp,
            pp=self.pp,
            engine=options or EngineOptions(),
            series_interval_s=None,
        )
