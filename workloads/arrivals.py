"""When a client's requests arrive: renewal processes whose rate and variability change by window.

Gaps are drawn with mean 1 in *operational time*, of which `rate` units pass per second, and mapped back through the
integrated rate. A gap has the family and CV of the window in which it starts and runs on across window borders.
Nothing is rescaled to fit a count: counts vary as the process says, and their expectation is rate times time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln

from workloads.errors import WorkloadError, did_you_mean

FAMILIES = ("poisson", "gamma", "weibull", "deterministic", "empirical")
POISSON, GAMMA, WEIBULL, DETERMINISTIC, EMPIRICAL = range(len(FAMILIES))

# CVs of which the shape is a number that the samplers take: Weibull shapes from 0.05 to 1000.
LEAST_CV, MOST_CV = 2e-3, 1e5


@dataclass(frozen=True, eq=False)
class Arrivals:
    """W windows of a renewal process; make one with `Arrivals.build`.

    rate_per_s: (W,) requests per second; 0 where the client is silent.
    family: (W,) index into FAMILIES. cv: (W,) standard deviation over mean of the gaps, 0 in silent windows.
    gaps: (G,) gaps of mean 1 to draw from, for the empirical family; empty if it does not occur.
    """

    rate_per_s: NDArray[np.float64]
    cv: NDArray[np.float64]
    family: NDArray[np.int8]
    gaps: NDArray[np.float64]

    @classmethod
    def build(
        cls,
        rate_per_s: ArrayLike,
        family: str | Sequence[str] = "poisson",
        cv: ArrayLike | None = None,
        gaps: ArrayLike | None = None,
    ) -> "Arrivals":
        """Validated arrivals; one family or CV stands for all windows.

        `cv` is needed where the family is gamma or weibull; the others fix it (poisson 1, deterministic 0, empirical
        that of `gaps`, whose unit does not matter). Raises WorkloadError naming the field and the first bad window.
        """
        rate = _numbers("rate_per_s", rate_per_s)
        windows = len(rate)
        if windows == 0:
            raise WorkloadError("rate_per_s: is empty; give at least one window")
        _reject("rate_per_s", rate, ~(np.isfinite(rate) & (rate >= 0)), "is not a finite rate from 0 on")
        names = [family] * windows if isinstance(family, str) else list(family)
        for name in names:
            if name not in FAMILIES:
                raise WorkloadError(f"unknown arrival family '{name}'; {did_you_mean(name, FAMILIES)}")
        codes = np.array([FAMILIES.index(name) for name in names], np.int8)
        if len(codes) != windows:
            raise WorkloadError(f"family: has {len(codes)} windows, rate_per_s has {windows}")
        sample = _unit_mean_gaps(gaps) if gaps is not None else np.empty(0)
        if (codes == EMPIRICAL).any() and not len(sample):
            raise WorkloadError("gaps: missing; the empirical family needs a sample of gaps")
        fixed_cv = np.array([1.0, np.nan, np.nan, 0.0, sample.std() if len(sample) else np.nan])[codes]
        active, shaped = rate > 0, np.isnan(fixed_cv)
        if cv is None:
            if (active & shaped).any():
                raise WorkloadError("cv: missing; families gamma and weibull need it")
            own_cv = fixed_cv
        else:
            own_cv = _numbers("cv", cv, windows)
            usable = np.where(shaped, (own_cv >= LEAST_CV) & (own_cv <= MOST_CV), np.isclose(own_cv, fixed_cv))
            problem = (
                f"does not suit the family (poisson 1, deterministic 0, gamma and weibull {LEAST_CV} to {MOST_CV})"
            )
            _reject("cv", own_cv, active & ~usable, problem)
        return cls(rate, np.where(active, own_cv, 0.0), codes, sample)

    def take(self, windows: NDArray[np.int64]) -> "Arrivals":
        """The arrivals whose window w is this one's window `windows[w]`."""
        return Arrivals(self.rate_per_s[windows], self.cv[windows], self.family[windows], self.gaps)

    def scaled(self, factor: ArrayLike) -> "Arrivals":
        """Rates times `factor`, a number or one a window; what the gaps look like stays."""
        return Arrivals(self.rate_per_s * np.asarray(factor, np.float64), self.cv, self.family, self.gaps)


class ArrivalProcess:
    """One run of `arrivals` over windows with the borders `edges_s` (W + 1, increasing), drawn from `rng`.

    It starts in equilibrium, as if it had run for ever before: the first gap is a residual one. Where the CV changes
    from c to d, the rest of the running gap is scaled by (1 + d^2) / (1 + c^2), the ratio of the mean residual gaps.
    By Wald's identity, the expected number of arrivals is then the integrated rate, without a lag behind each change.
    """

    def __init__(self, arrivals: Arrivals, edges_s: NDArray[np.float64], rng: np.random.Generator) -> None:
        self._arrivals, self._edges_s, self._rng = arrivals, edges_s, rng
        self._shape = gap_shapes(arrivals)
        self._size_biased = np.cumsum(arrivals.gaps) / max(arrivals.gaps.sum(), 1.0)
        # window; time of the last arrival or border; operational time to the next arrival; CV it was drawn for, or -1
        self._state = np.array([0.0, edges_s[0], 0.0, -1.0])

    def until(self, end_s: float) -> NDArray[np.float64]:
        """Times in s of the arrivals before `end_s` that were not given out yet, in order.

        How often it is called changes nothing about the times.
        """
        parts, arrivals = [], self._arrivals
        buffer = np.empty(1024)
        while True:
            count = _fill(
                buffer,
                self._rng,
                self._state,
                end_s,
                self._edges_s,
                arrivals.rate_per_s,
                arrivals.cv,
                arrivals.family,
                self._shape,
                arrivals.gaps,
                self._size_biased,
            )
            parts.append(buffer[:count].copy())
            if count < len(buffer):
                return np.concatenate(parts)
            buffer = np.empty(4 * len(buffer))


def gap_shapes(arrivals: Arrivals) -> NDArray[np.float64]:
    """(W,) the Gamma shape 1 / CV^2, or the Weibull shape with that CV; 1 elsewhere."""
    shape = np.ones(len(arrivals.cv))
    active = arrivals.rate_per_s > 0
    gamma, weibull = active & (arrivals.family == GAMMA), active & (arrivals.family == WEIBULL)
    shape[gamma] = arrivals.cv[gamma] ** -2
    shape[weibull] = _weibull_shape(arrivals.cv[weibull])
    return shape


def _weibull_shape(cv: NDArray[np.float64]) -> NDArray[np.float64]:
    """The k with 1 + cv^2 = Gamma(1 + 2/k) / Gamma(1 + 1/k)^2, by bisection on log k; the CV falls with k."""
    low, high = np.full(len(cv), math.log(0.05)), np.full(len(cv), math.log(1000.0))
    target = np.log1p(cv**2)
    for _ in range(60):
        middle = (low + high) / 2
        inverse = np.exp(-middle)
        too_variable = gammaln(1 + 2 * inverse) - 2 * gammaln(1 + inverse) > target
        low, high = np.where(too_variable, middle, low), np.where(too_variable, high, middle)
    return np.exp(high)


@njit(cache=True)
def _fill(buffer, rng, state, end_s, edges_s, rate_per_s, cv, family, shape, gaps, size_biased):  # type: ignore[no-untyped-def]
    """Write the next arrivals before `end_s` into `buffer`, move `state` on, and return how many there are."""
    window, from_s, gap, gap_cv = int(state[0]), state[1], state[2], state[3]
    count = 0
    while window < len(rate_per_s) and from_s < end_s and count < len(buffer):
        rate = rate_per_s[window]
        if rate > 0:
            if gap_cv < 0:
                gap = _residual_gap(rng, family[window], shape[window], gaps, size_biased)
            elif gap_cv != cv[window]:
                gap *= (1 + cv[window] ** 2) / (1 + gap_cv**2)
            gap_cv = cv[window]
            arrival_s = from_s + gap / rate
            while arrival_s < edges_s[window + 1] and arrival_s < end_s and count < len(buffer):
                buffer[count] = arrival_s
                count += 1
                from_s = arrival_s
                gap = _gap(rng, family[window], shape[window], gaps)
                arrival_s = from_s + gap / rate
            if arrival_s < edges_s[window + 1]:  # it is for the next call
                break
            gap = max(gap - (edges_s[window + 1] - from_s) * rate, 0.0)
        from_s = edges_s[window + 1]
        window += 1
    state[0], state[1], state[2], state[3] = window, from_s, gap, gap_cv
    return count


@njit(cache=True)
def _gap(rng, family, shape, gaps):  # type: ignore[no-untyped-def]
    """A gap of mean 1."""
    if family == POISSON:
        return rng.standard_exponential()
    if family == GAMMA:
        return rng.standard_gamma(shape) / shape
    if family == WEIBULL:
        return rng.standard_exponential() ** (1 / shape) / math.gamma(1 + 1 / shape)
    if family == DETERMINISTIC:
        return 1.0
    return gaps[int(rng.random() * len(gaps))]


@njit(cache=True)
def _residual_gap(rng, family, shape, gaps, size_biased):  # type: ignore[no-untyped-def]
    """What is left, at a random instant, of the gap that it falls into: a uniform part of a size-biased gap."""
    part = rng.random()
    if family == POISSON:
        return rng.standard_exponential()
    if family == GAMMA:
        return part * rng.standard_gamma(shape + 1) / shape
    if family == WEIBULL:
        return part * rng.standard_gamma(1 + 1 / shape) ** (1 / shape) / math.gamma(1 + 1 / shape)
    if family == DETERMINISTIC:
        return part
    return part * gaps[min(np.searchsorted(size_biased, rng.random(), side="right"), len(gaps) - 1)]


def _unit_mean_gaps(gaps: ArrayLike) -> NDArray[np.float64]:
    sample = _numbers("gaps", gaps)
    _reject("gaps", sample, ~(np.isfinite(sample) & (sample >= 0)), "is not a finite time from 0 on")
    if not sample.sum() > 0:
        raise WorkloadError("gaps: sum to 0; give at least one positive gap")
    return sample / sample.mean()


def _numbers(name: str, values: ArrayLike, windows: int | None = None) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise WorkloadError(f"{name}: is not a list of numbers") from None
    if windows is not None and array.ndim == 0:
        return np.full(windows, float(array))
    if array.ndim != 1 or (windows is not None and len(array) != windows):
        expected = "one dimension" if windows is None else f"{windows} windows, as rate_per_s"
        raise WorkloadError(f"{name}: has shape {array.shape}, expected {expected}")
    return array


def _reject(name: str, values: NDArray[np.float64], bad: NDArray[np.bool_], problem: str) -> None:
    if bad.any():
        window = int(bad.argmax())
        raise WorkloadError(f"{values[window]} {problem}", name, window)
