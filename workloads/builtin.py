"""Workloads that need no file: the recipes, by name and with options."""

import inspect
from collections.abc import Mapping
from reprlib import repr as short_repr
from typing import Any

from workloads import compose
from workloads.errors import WorkloadError, did_you_mean
from workloads.recipes import RECIPES as BUILTINS
from workloads.workload import Workload

DEFAULT_REQUESTS = 2000
MOST_REQUESTS, MOST_CLIENTS = 100_000_000, 100_000
LEAST_RATE_PER_S, MOST_RATE_PER_S = 1e-3, 1e6
MOST_S = 1e8
_SPARE_CONVERSATIONS = 40  # a workload of few requests is drawn over a time in which so many are expected

# Ranges of options; the recipes' own ones are checked where they are used too.
_RANGES: dict[str, tuple[float, float]] = {
    "requests": (1, MOST_REQUESTS),
    "duration_s": (1e-3, MOST_S),
    "rate_per_s": (LEAST_RATE_PER_S, MOST_RATE_PER_S),
    "clients": (1, MOST_CLIENTS),
    "between_s": (1e-3, MOST_S),
    "documents": (1, 10_000_000),
    "passages": (1, 100),
}


def generate(name: str, seed: int, options: Mapping[str, Any]) -> Workload:
    """The built-in workload called `name`.

    Options of all of them: `rate_per_s`, and how much: `requests` (the first rows, 2,000 where nothing is said), or
    `duration_s` (all conversations that begin in it). The others are those of the recipe's function. With more
    requests or a longer duration, the rows of the shorter workload come first, unchanged.
    Raises WorkloadError for an unknown name, or an option that is unknown or out of range.
    """
    defaults = check(name, options)
    rate_per_s = options.get("rate_per_s", defaults["rate_per_s"])
    requests = options.get("requests", DEFAULT_REQUESTS)
    pool = BUILTINS[name].pool(**{option: value for option, value in options.items() if option in defaults})
    if "duration_s" in options:
        return compose.generate(pool, seed=seed, duration_s=options["duration_s"])
    duration_s = 1.1 * requests / rate_per_s + _SPARE_CONVERSATIONS / float(pool.rate_per_s[0])
    while len(workload := compose.generate(pool, seed=seed, duration_s=duration_s)) < requests:
        duration_s *= 2
    return workload.head(requests)


def check(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The defaults of the built-in workload called `name`; raises WorkloadError as `generate` does, drawing nothing."""
    if name not in BUILTINS:
        raise WorkloadError(f"unknown built-in workload '{name}'; {did_you_mean(name, BUILTINS)}")
    parameters = inspect.signature(BUILTINS[name].pool).parameters
    defaults = {parameter.name: parameter.default for parameter in parameters.values()}
    samples = {**defaults, "requests": DEFAULT_REQUESTS, "duration_s": 1.0}
    for option, value in options.items():
        if option == "seed":
            raise WorkloadError(f"option 'seed' of workload '{name}': use the scenario's seed instead")
        if option not in samples:
            raise WorkloadError(f"unknown option '{option}' of workload '{name}'; {did_you_mean(option, samples)}")
        expected = type(samples[option])
        if isinstance(value, bool) or not isinstance(value, (int, expected)):
            problem = f"expected {expected.__name__}, got {short_repr(value)}"
            raise WorkloadError(f"option '{option}' of workload '{name}': {problem}")
        least, most = _RANGES[option]
        if not least <= value <= most:
            problem = f"must be from {least:g} to {most:g}, got {short_repr(value)}"
            raise WorkloadError(f"option '{option}' of workload '{name}': {problem}")
    if "requests" in options and "duration_s" in options:
        raise WorkloadError(f"workload '{name}': give requests or duration_s, not both")
    rate_per_s = options.get("rate_per_s", defaults["rate_per_s"])
    if rate_per_s * options.get("duration_s", 0) > MOST_REQUESTS:
        raise WorkloadError(f"workload '{name}': rate_per_s times duration_s is more than {MOST_REQUESTS} requests")
    return defaults
