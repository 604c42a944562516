"""How long requests are: laws of token counts, and how they make up a request's input and output."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from workloads.errors import WorkloadError

SUM_TOLERANCE = 1e-6  # by which the probabilities of an empirical law may miss 1
_MIXTURE_POINTS = 16384  # of the table by which a mixture is inverted; relative error of a quantile below 1e-5
_MIXTURE_TAIL = 1e-12  # probability beyond either end of that table


class Law(Protocol):
    """The distribution of a positive quantity, given by its inverse, so that draws can be correlated."""

    def quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        """The smallest x with P(X <= x) >= u, elementwise, for u in [0, 1)."""
        ...

    def mean(self) -> float:
        """The expectation; inf where it is infinite."""
        ...


class ContinuousLaw(Law, Protocol):
    """A law with a distribution function, which a mixture needs of its parts."""

    def cdf(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(X <= x), elementwise, for x > 0."""
        ...


@dataclass(frozen=True, eq=False)
class Empirical:
    """A probability for each of K increasing values, kept as they are; make one with `Empirical.build`."""

    values: NDArray[np.float64]
    probabilities: NDArray[np.float64]

    @classmethod
    def build(cls, values: ArrayLike, probabilities: ArrayLike) -> "Empirical":
        """A validated law. Raises WorkloadError for values that do not increase or probabilities that miss a sum of 1.

        The message names the field and the row.
        """
        x, p = np.asarray(values, np.float64), np.asarray(probabilities, np.float64)
        if x.ndim != 1 or x.shape != p.shape:
            raise WorkloadError(f"values have shape {x.shape}, probabilities {p.shape}; give one for each")
        if not len(x):
            raise WorkloadError("is empty; give at least one value")
        _reject("values", x, ~(np.isfinite(x) & (x >= 0)), "is not a finite number from 0 on")
        _reject("values", x, np.append(False, np.diff(x) <= 0), "does not increase; sort the values, each once")
        _reject("probabilities", p, ~(np.isfinite(p) & (p >= 0)), "is not a finite number from 0 on")
        if abs(p.sum() - 1) > SUM_TOLERANCE:
            raise WorkloadError(f"probabilities sum to {p.sum():.6g}, not 1; divide them by their sum")
        return cls(x, p)

    @classmethod
    def from_pdf(cls, pdf: Mapping[float, float]) -> "Empirical":
        """The law of a dictionary value -> probability, in any order."""
        values = sorted(pdf)
        return cls.build(values, [pdf[value] for value in values])

    @classmethod
    def pooled(cls, laws: Sequence["Empirical"], weights: ArrayLike) -> "Empirical":
        """The law of a draw from a law that is itself drawn with a probability proportional to its weight."""
        share = np.asarray(weights, np.float64) / np.sum(weights)
        values, where = np.unique(np.concatenate([law.values for law in laws]), return_inverse=True)
        mass = np.concatenate([law.probabilities * s for law, s in zip(laws, share, strict=True)])
        return cls(values, np.bincount(where, mass).astype(np.float64))

    @cached_property
    def _cumulative(self) -> NDArray[np.float64]:
        cumulative = np.cumsum(self.probabilities)
        return cumulative / cumulative[-1]

    def quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.values[np.searchsorted(self._cumulative, u, side="right").clip(max=len(self.values) - 1)]

    def cdf(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """P(X <= x), elementwise."""
        return np.append(0.0, self._cumulative)[np.searchsorted(self.values, x, side="right")]

    def mean(self) -> float:
        return float(self.values @ self.probabilities)


@dataclass(frozen=True)
class LogNormal:
    """exp of a normal variable with mean log(median) and standard deviation sigma."""

    median: float
    sigma: float

    def __post_init__(self) -> None:
        _require_positive("LogNormal", median=self.median, sigma=self.sigma)

    def quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.median * np.exp(self.sigma * ndtri(u))

    def cdf(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return ndtr(np.log(x / self.median) / self.sigma)

    def mean(self) -> float:
        return self.median * math.exp(self.sigma**2 / 2)


@dataclass(frozen=True)
class Pareto:
    """P(X > x) = (minimum / x)^alpha from `minimum` on, conditioned on X <= `maximum`."""

    minimum: float
    alpha: float
    maximum: float

    def __post_init__(self) -> None:
        _require_positive("Pareto", minimum=self.minimum, alpha=self.alpha, maximum=self.maximum)
        if self.maximum <= self.minimum:
            raise WorkloadError(f"Pareto: maximum {self.maximum} must be above minimum {self.minimum}")

    @property
    def _kept(self) -> float:  # probability of X <= maximum without the condition
        return 1 - (self.minimum / self.maximum) ** self.alpha

    def quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.minimum * (1 - u * self._kept) ** (-1 / self.alpha)

    def cdf(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return (1 - (self.minimum / x.clip(self.minimum, self.maximum)) ** self.alpha) / self._kept

    def mean(self) -> float:
        ratio = self.minimum / self.maximum
        if self.alpha == 1:
            return -self.minimum * math.log(ratio) / self._kept
        return self.alpha / (self.alpha - 1) * self.minimum * (1 - ratio ** (self.alpha - 1)) / self._kept


@dataclass(frozen=True)
class Exponential:
    """The exponential law of this mean."""

    mean_tokens: float

    def __post_init__(self) -> None:
        _require_positive("Exponential", mean_tokens=self.mean_tokens)

    def quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return -self.mean_tokens * np.log1p(-u)

    def cdf(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return -np.expm1(-x / self.mean_tokens)

    def mean(self) -> float:
        return self.mean_tokens


@dataclass(frozen=True)
class Mixture:
    """`parts[i]` with probability `weights[i]`. Parts are continuous; `Empirical.pooled` mixes empirical laws."""

    parts: tuple[ContinuousLaw, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.parts or len(self.parts) != len(self.weights):
            raise WorkloadError(f"Mixture: {len(self.parts)} parts and {len(self.weights)} weights; give one for each")
        if any(isinstance(part, Empirical) for part in self.parts):
            raise WorkloadError("Mixture: parts must be continuous; mix empirical laws with Empirical.pooled")
        for weight in self.weights:
            _require_positive("Mixture", weights=weight)
        if abs(sum(self.weights) - 1) > SUM_TOLERANCE:
            raise WorkloadError(f"Mixture: weights sum to {sum(self.weights):.6g}, not 1; divide them by their sum")

    @cached_property
    def _table(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(probabilities, logs of values), increasing, from which quantiles are interpolated."""
        ends = np.array([[_MIXTURE_TAIL, 1 - _MIXTURE_TAIL]])
        reach = np.concatenate([part.quantile(ends) for part in self.parts])
        logs = np.linspace(math.log(reach.min()), math.log(reach.max()), _MIXTURE_POINTS)
        return self.cdf(np.exp(logs)), logs

    def quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.exp(np.interp(u, *self._table))

    def cdf(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        parts = zip(self.weights, self.parts, strict=True)
        return np.sum([weight * part.cdf(x) for weight, part in parts], axis=0)

    def mean(self) -> float:
        return sum(weight * part.mean() for weight, part in zip(self.weights, self.parts, strict=True))


@dataclass(frozen=True)
class Media:
    """Images, or whatever else is turned into input tokens: how many a request has, and the tokens of each."""

    count: Law
    tokens: Law


@dataclass(frozen=True)
class Lengths:
    """The lengths of a client's requests.

    input: tokens of text. media: by kind ("image", ...), what is added to the input; draws are independent.
    output: tokens of the whole answer, reasoning included. reason_ratio: the reasoning's share of it.
    correlation: Spearman's rank correlation of input text and output, from -1 to 1, by a Gaussian copula. Where
    lengths are ties, as in an empirical law with few values, the ranks that can be seen correlate a little less.
    """

    input: Law
    output: Law
    reason_ratio: Law | None = None
    media: Mapping[str, Media] | None = None
    correlation: float = 0.0

    def __post_init__(self) -> None:
        if not -1 <= self.correlation <= 1:
            raise WorkloadError(f"correlation: must be a number from -1 to 1, got {self.correlation}")

    @property
    def mean_input_tokens(self) -> float:
        media = (self.media or {}).values()
        return self.input.mean() + sum(kind.count.mean() * kind.tokens.mean() for kind in media)

    @property
    def mean_output_tokens(self) -> float:
        return self.output.mean()


def correlated_output_u(
    input_u: NDArray[np.float64], output_u: NDArray[np.float64], correlation: float
) -> NDArray[np.float64]:
    """Uniform variables whose rank correlation with `input_u` is `correlation`; `output_u` is independent of it.

    Gaussian copula with parameter 2 sin(pi correlation / 6) (Pearson 1907; Kruskal 1958).
    """
    if correlation == 0:
        return output_u
    rho = 2 * math.sin(math.pi * correlation / 6)
    mixed = rho * ndtri(input_u) + math.sqrt(max(1 - rho * rho, 0.0)) * ndtri(output_u)
    return ndtr(mixed).clip(max=np.nextafter(1, 0))


def whole_tokens(quantity: NDArray[np.float64]) -> NDArray[np.int64]:
    """Token counts: rounded up, and 1 for 0, since a prompt holds a token and prefilling it gives another."""
    return np.ceil(quantity).clip(min=1).astype(np.int64)


def _reject(name: str, values: NDArray[np.float64], bad: NDArray[np.bool_], problem: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        raise WorkloadError(f"{values[row]} {problem}", name, row)


def _require_positive(law: str, **parameters: float) -> None:
    for name, value in parameters.items():
        if not 0 < value < math.inf:
            raise WorkloadError(f"{law}: {name} must be a positive number, got {value}")
