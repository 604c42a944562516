"""The smallest fleet that keeps the SLO at a rate, or the highest rate at which a fleet keeps it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..cells import Failed
from ..errors import SimError
from .candidates import Candidate, mixed, pure, rates
from .cost import Cost, CostModel
from .evaluate import Evaluator, Trial
from .search import least
from .verdict import Verdict

ALONE_SEEDS = 5  # in which requests are looked at alone


@dataclass(frozen=True)
class Tried:
    """A trial with all seeds."""

    trial: Trial
    verdict: Verdict
    cost: Cost


@dataclass(frozen=True)
class Answer:
    """The least size of a candidate that holds; ``neighbours`` are the trials one size below and above."""

    candidate: str
    tried: Tried
    neighbours: list[Tried]


@dataclass(frozen=True)
class Plan:
    """Answers, the cheapest first; ``notes`` say of each candidate without one why it has none.

    ``tried`` is all that was tried with all seeds, from the cheapest fleet and the lowest rate on.
    """

    answers: list[Answer]
    notes: dict[str, str]
    tried: list[Tried]


def plan_fleet(
    evaluator: Evaluator,
    costs: CostModel,
    rate_per_s: float,
    kinds: Sequence[tuple[str, int]],
    mixes: Sequence[tuple[str, str]],
    most: int,
) -> Plan:
    """The least instances of each kind, a GPU and a tensor parallelism, up to ``most``; and of each mix, a pair of
    GPUs, with the tensor parallelism that is cheapest for each alone.

    Raises `SimError` where no candidate holds.
    """
    scenario = evaluator.loads.scenario
    search = _Searches(evaluator, costs)
    search.settle([pure(scenario, gpu, tp, rate_per_s, most) for gpu, tp in kinds])
    candidates = []
    for pair in mixes:
        best = [search.cheapest(gpu) for gpu in pair]
        if None in best:
            search.notes["+".join(pair)] = "a mix takes two GPUs that hold alone"
        else:
            candidates += mixed(scenario, *(one.tried.trial for one in best if one is not None))
    search.settle(candidates)
    return search.plan()


def plan_rate(evaluator: Evaluator, costs: CostModel, tolerance: float) -> Plan:
    """The highest rate that the scenario's fleet sustains, to a relative ``tolerance``. Raises `SimError` for none."""
    search = _Searches(evaluator, costs)
    search.settle([rates(evaluator.loads.scenario, tolerance)])
    return search.plan()


class _Searches:
    """Searches for several candidates that go on side by side, so that their runs share the pool."""

    def __init__(self, evaluator: Evaluator, costs: CostModel) -> None:
        self.evaluator, self.costs = evaluator, costs
        self.answers: list[Answer] = []
        self.notes: dict[str, str] = {}
        self._tried: dict[str, Tried] = {}

    def cheapest(self, gpu: str) -> Answer | None:
        """Of the answers with this GPU alone."""
        own = [one for one in self.answers if [group.gpu for group in one.tried.trial.groups] == [gpu]]
        return min(own, key=lambda one: one.tried.cost.per_hour, default=None)

    def plan(self) -> Plan:
        if not self.answers:
            raise SimError("; ".join(f"{name}: {note}" for name, note in self.notes.items()))
        order = sorted(self._tried.values(), key=lambda one: (one.cost.per_hour, one.trial.rate_per_s))
        return Plan(sorted(self.answers, key=lambda one: one.tried.cost.per_hour), self.notes, order)

    def settle(self, candidates: Sequence[Candidate]) -> None:
        """Find every candidate's answer, or note why there is none."""
        found = self._search(self._that_can_hold(candidates))
        self._ask([(one.trial(size + 1), True) for one, size in found])
        for one, size in found:
            around = [self._tried.get(one.trial(size + step).key) for step in (-1, 0, 1) if size + step >= one.lowest]
            *below, own, above = around
            assert own is not None  # the search asked for it
            self.answers.append(Answer(one.name, own, [near for near in (*below, above) if near is not None]))

    def _that_can_hold(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Those whose requests meet the SLO where each finds the fleet idle; it is of no use to try the others."""
        alone = [replace(one.trial(one.start), alone=True) for one in candidates]
        able = []
        for one, verdict in zip(
            candidates, self.evaluator.verdicts([(trial, ALONE_SEEDS) for trial in alone]), strict=True
        ):
            if isinstance(verdict, Failed):
                self.notes[one.name] = verdict.error
            elif verdict.told == "misses":
                ttft_s, tpot_s = verdict.mean("ttft_p99_s"), verdict.mean("tpot_p99_s")
                self.notes[one.name] = (
                    f"no number of instances can hold: even where each request finds an idle one, "
                    f"{verdict.attainment.mean:.2%} are within the target of {verdict.tightest}, {verdict.wanted:.2%} "
                    f"are wanted (p99 TTFT {ttft_s:.3g} s, p99 TPOT {tpot_s:.3g} s)"
                )
            else:
                able.append(one)
        return able

    def _search(self, candidates: Sequence[Candidate]) -> list[tuple[Candidate, int]]:
        """Each candidate's least size, a round of questions after the other; a run that fails ends its search."""
        searches = {one.name: least(one.start, one.stride, one.lowest, one.highest) for one in candidates}
        asked = {name: next(search) for name, search in searches.items()}
        by_name = {one.name: one for one in candidates}
        sizes: dict[str, int] = {}
        while asked:
            trials = [(by_name[name].trial(question.size), question.all_seeds) for name, question in asked.items()]
            for name, verdict in zip(list(asked), self._ask(trials), strict=True):
                try:
                    if isinstance(verdict, Failed):
                        self.notes[name] = verdict.error
                        del asked[name]
                    else:
                        asked[name] = searches[name].send(verdict.holds)
                except StopIteration as ended:
                    del asked[name]
                    if ended.value is None:
                        self.notes[name] = f"does not hold with {by_name[name].trial(by_name[name].highest).told}"
                    else:
                        sizes[name] = ended.value
        return [(one, sizes[one.name]) for one in candidates if one.name in sizes]

    def _ask(self, asked: Sequence[tuple[Trial, bool]]) -> list[Verdict | Failed]:
        """Of each trial, with all seeds or the first one."""
        seeds = self.evaluator.seeds
        told = self.evaluator.verdicts([(trial, seeds if all_seeds else 1) for trial, all_seeds in asked])
        for (trial, all_seeds), verdict in zip(asked, told, strict=True):
            if all_seeds and isinstance(verdict, Verdict):
                self._tried[trial.key] = Tried(trial, verdict, self.costs.of(trial.groups, verdict.busy))
        return told
