"""The workloads of the study, at any rate."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from workloads import Workload, generate, load
from workloads.nominal import nominal_arrival_s

TRACES = Path(__file__).parents[3] / "shared/data/traces"
# Longer prompts of coder are left out: an instance of Qwen3-30B-A3B has no room for the longest. Illustrative.
LONGEST_TOKENS = 131_072


@dataclass(frozen=True)
class Recipe:
    """``duration_s`` of the recipe ``name``; what would come later at an idle server is left out. ``crowd_per_s``: rate
    of `crowd`."""

    name: str
    duration_s: float
    crowd_per_s: float


@dataclass(frozen=True)
class Trace:
    """A file of `TRACES`."""

    file: str


# The longer think times are, the longer it takes until follow-ups come as often as in the long run.
RECIPES = {
    "chatbot": Recipe("chatbot", 1800.0, 20.0),
    "api": Recipe("api", 600.0, 60.0),
    "coder": Recipe("coder", 7200.0, 2.0),
}
# The other recipes that ship, compared with round-robin and vllm only.
FURTHER = {
    "toolagent recipe": Recipe("toolagent", 1800.0, 5.6),
    "reasoning": Recipe("reasoning", 1200.0, 10.0),
    "multimodal": Recipe("multimodal", 600.0, 20.0),
    "rag": Recipe("rag", 600.0, 20.0),
}
SHIPPED = RECIPES | FURTHER
RECORDED = {
    "conversation": Trace("mooncake_conversation_trace.jsonl.gz"),
    "toolagent": Trace("mooncake_arxiv_toolagent_first1000.jsonl.gz"),
}


def available() -> list[str]:
    """Names of the workloads; a line is printed for every trace that is not there."""
    names = list(RECIPES)
    for name, trace in RECORDED.items():
        if (TRACES / trace.file).is_file():
            names.append(name)
        else:
            print(f"{TRACES / trace.file}: no such file; the study goes without {name}")
    return names


@lru_cache(maxsize=4)
def at_rate(name: str, rate_per_s: float, seed: int, size: float) -> Workload:
    """The workload at so many requests a second, a recipe's by `steady_per_s`, as its follow-ups come late.

    size: share of the recipe's duration, or of the trace's requests.
    """
    if name in SHIPPED:
        begun = steady_per_s(_generated(name, rate_per_s, seed, size))
        return _generated(name, rate_per_s * rate_per_s / begun, seed, size)
    trace = _recorded(name, size)
    return trace.jitter(seed).scale_rate(rate_per_s * float(trace.arrival_s.max()) / len(trace))


@lru_cache(maxsize=4)
def crowd(name: str, size: float) -> Workload:
    """All sessions come at once, and follow-ups as soon as the answer before is there."""
    recipe = SHIPPED.get(name)
    whole = _generated(name, recipe.crowd_per_s, 0, size) if recipe else _recorded(name, size)
    return whole.scale_time(1e-6)


def steady_per_s(workload: Workload) -> float:
    """Requests a second at an idle server while the middle half of them come."""
    first, last = np.quantile(nominal_arrival_s(workload), (0.25, 0.75))
    return 0.5 * len(workload) / float(last - first)


def _generated(name: str, rate_per_s: float, seed: int, size: float) -> Workload:
    recipe = SHIPPED[name]
    duration_s = recipe.duration_s * size
    drawn = generate(recipe.name, seed, {"rate_per_s": rate_per_s, "duration_s": duration_s})
    tokens = drawn.input_tokens.astype(np.int64) + drawn.output_tokens
    return drawn.take(np.flatnonzero((tokens <= LONGEST_TOKENS) & (nominal_arrival_s(drawn) < duration_s)))


def _recorded(name: str, size: float) -> Workload:
    trace = load(TRACES / RECORDED[name].file, "mooncake")
    return trace.head(max(1, round(size * len(trace))))
