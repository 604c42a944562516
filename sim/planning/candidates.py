"""What a plan chooses from: fleets that grow by one kind of instance, or a fleet whose load shrinks."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log

from ..scenario import InstanceGroup, Scenario
from .evaluate import Trial

MIX_SHARES = (0.25, 0.5, 0.75)  # of the instances that the first GPU would need alone
MOST_HALVINGS, MOST_DOUBLINGS = 6, 16  # of one request per second and instance


@dataclass(frozen=True)
class Candidate:
    """Trials by size, of which the larger ones hold more easily. The search begins at ``start`` and looks for the first
    that holds by steps of ``stride``.
    """

    name: str
    trial: Callable[[int], Trial]
    start: int
    stride: Callable[[int], int]
    lowest: int
    highest: int


def group(scenario: Scenario, gpu: str, tp: int, instances: int, weight: float = 1.0) -> InstanceGroup:
    """Instances of a kind; all else is the scenario's."""
    name = gpu if tp == 1 else f"{gpu} (TP {tp})"
    return InstanceGroup(name=name, gpu=gpu, tp=tp, instances=instances, weight=weight).beside(scenario)


def pure(scenario: Scenario, gpu: str, tp: int, rate_per_s: float, most: int) -> Candidate:
    """1 to ``most`` instances of one kind."""
    return Candidate(
        group(scenario, gpu, tp, 1).name,
        lambda size: Trial((group(scenario, gpu, tp, size),), rate_per_s),
        start=1,
        stride=lambda size: size,
        lowest=1,
        highest=most,
    )


def mixed(scenario: Scenario, first: Trial, second: Trial) -> list[Candidate]:
    """Some of the instances that ``first`` has, and as many of the kind of ``second`` as it takes beside them; fewer
    than ``second`` has, or the mix would be of no use.

    An instance's weight at the router is what share of the load it carries in its own fleet.
    """
    (a,), (b,) = first.groups, second.groups
    counts = sorted({round(share * a.instances) for share in MIX_SHARES} & set(range(1, a.instances)))

    def candidate(count: int) -> Candidate:
        some = group(scenario, a.gpu, a.tp, count)
        weight = a.instances / b.instances
        return Candidate(
            f"{count} x {a.name} + {b.name}",
            lambda size: Trial((some, group(scenario, b.gpu, b.tp, size, weight)), first.rate_per_s),
            start=min(b.instances - 1, ceil(b.instances * (1 - count / a.instances))),
            stride=lambda size: 1,
            lowest=1,
            highest=b.instances - 1,
        )

    return [candidate(count) for count in counts] if b.instances > 1 else []


def rates(scenario: Scenario, tolerance: float) -> Candidate:
    """The scenario's fleet; each size is a rate lower by the tolerance than the one before."""
    groups = tuple(one for one in scenario.groups() if one.instances)
    first_per_s = float(sum(one.instances for one in groups))
    halving = ceil(log(2) / log(1 + tolerance))
    return Candidate(
        "fleet",
        lambda size: Trial(groups, float(f"{first_per_s * (1 + tolerance) ** -size:.5g}")),
        start=0,
        stride=lambda size: halving,
        lowest=-MOST_DOUBLINGS * halving,
        highest=MOST_HALVINGS * halving,
    )
