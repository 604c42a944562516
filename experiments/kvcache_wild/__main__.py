"""Tables and figures of README.md: `python -m experiments.kvcache_wild [--out FOLDER]`."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from sim.eviction import block_trace, find_policy, replay
from workloads import Workload
from workloads.characterize import describe

from ..parallel import in_parallel
from . import figures, loaded, sources, tables
from .causes import gain_by_variant, long_prompts
from .curves import AWARE, BASE, CAPACITIES, curves
from .reuse import measure_reuse
from .tables import Measured

SEEDS = range(5)
LOADED_SEEDS = range(4)
CONSUMER, BUSINESS, MOONCAKE = "consumer", "business", "Mooncake"


def main(
    out: Path,
    seeds: Sequence[int] = SEEDS,
    capacities: tuple[int, ...] = CAPACITIES,
    consumer_s: float = sources.CONSUMER_S,
    business_s: float = sources.BUSINESS_S,
    loaded_seeds: Sequence[int] = LOADED_SEEDS,
    loaded_capacities: Sequence[int] = loaded.CAPACITIES,
    loaded_size: float = 1.0,
) -> None:
    """Write tables.md, curves.csv, loaded.csv and the figures into the folder ``out``."""
    chats, calls = sources.consumer(seeds[0], consumer_s), sources.business(seeds[0], business_s)
    measured = {CONSUMER: measure(chats), BUSINESS: measure(calls)}
    done = in_parallel(_of_seed, [(seed, capacities, consumer_s, business_s) for seed in seeds])
    curve = {name: pd.concat([of_seed[name] for of_seed, _ in done]) for name in (CONSUMER, BUSINESS)}
    causes = pd.concat([variants for _, variants in done])
    if sources.MOONCAKE.is_file():
        trace = sources.mooncake()
        measured[MOONCAKE] = measure(trace, sources.MOONCAKE_BLOCK_TOKENS)
        blocks = block_trace(trace, sources.MOONCAKE_BLOCK_TOKENS)
        curve[MOONCAKE] = curves(blocks, capacities).assign(seed=0)
    else:
        print(f"{sources.MOONCAKE}: no such file; the study goes without the Mooncake trace")
    out.mkdir(parents=True, exist_ok=True)
    _write_figures(out, measured, curve, causes)
    pd.concat(table.assign(workload=name) for name, table in curve.items()).to_csv(
        out / "curves.csv", index=False, lineterminator="\n"
    )
    parts = _report(measured, curve, causes, chats) | _loaded(out, loaded_seeds, loaded_capacities, loaded_size)
    report = "\n".join(f"## {title}\n\n{table}" for title, table in parts.items())
    (out / "tables.md").write_text(report, encoding="utf-8")
    print(report)


def measure(workload: Workload, block_tokens: int = sources.BLOCK_TOKENS) -> Measured:
    """What the tables tell of a workload before any cache is full."""
    trace = block_trace(workload, block_tokens)
    unbounded = replay(trace, find_policy(BASE)).block_hit_ratio
    return Measured(describe(workload, block_tokens=block_tokens), measure_reuse(trace), unbounded)


def _of_seed(
    seed: int, capacities: tuple[int, ...], consumer_s: float, business_s: float
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """The curves of both workloads, and the gain on the consumer workload by variant."""
    chats, calls = sources.consumer(seed, consumer_s), sources.business(seed, business_s)
    curve = {
        name: curves(block_trace(workload, sources.BLOCK_TOKENS), capacities).assign(seed=seed)
        for name, workload in ((CONSUMER, chats), (BUSINESS, calls))
    }
    return curve, gain_by_variant(chats, curve[CONSUMER])


def _write_figures(
    out: Path, measured: Mapping[str, Measured], curve: Mapping[str, pd.DataFrame], causes: pd.DataFrame
) -> None:
    reuse = {name: one.reuse for name, one in measured.items()}
    sheets = {
        "reuse-times": figures.reuse_times(reuse),
        "life-spans": figures.life_spans(reuse),
        "hit-ratios": figures.hit_ratios(curve),
        "gain": figures.gain(curve[CONSUMER], causes),
    }
    for name, sheet in sheets.items():
        sheet.savefig(out / f"{name}.png", dpi=100)


def _report(
    measured: Mapping[str, Measured], curve: Mapping[str, pd.DataFrame], causes: pd.DataFrame, chats: Workload
) -> dict[str, str]:
    """Tables by title."""
    parts = {"Reuse": tables.characterization(measured)}
    parts |= {f"Reuse by category and turn: {name}": tables.classes(one.reuse) for name, one in measured.items()}
    apart = measure_reuse(block_trace(sources.files_told_apart(chats), sources.BLOCK_TOKENS))
    parts["Reuse by category and turn: consumer, long prompts a category"] = tables.classes(apart)
    parts |= {f"Hit ratios: {name}": tables.hit_ratios(table) for name, table in curve.items()}
    parts |= {
        "What workload-aware gains: consumer": tables.gain_table(curve[CONSUMER]),
        "Gain over LRU by variant": tables.causes(causes),
        "Long prompts": tables.facts(long_prompts(chats)),
    }
    return parts


def _loaded(out: Path, seeds: Sequence[int], capacities: Sequence[int], size: float) -> dict[str, str]:
    """Run the loaded engine; write loaded.csv and its figure. Tables by title."""
    # On the business workload workload-aware is LRU.
    policies = {CONSUMER: AWARE, BUSINESS: "lfu"}
    traffic = {CONSUMER: loaded.CONSUMER, BUSINESS: loaded.BUSINESS}
    done = {name: loaded.runs(of, seeds, capacities, size) for name, of in traffic.items()}
    pd.concat(done.values()).to_csv(out / "loaded.csv", index=False, lineterminator="\n")
    figures.loaded(done, policies).savefig(out / "loaded.png", dpi=80)
    return {title: told for name, table in done.items() for title, told in loaded.report(table, policies[name]).items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m experiments.kvcache_wild", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/kvcache-wild"))
    main(parser.parse_args().out)
