"""A measured run through the simulator: its arrivals, its prompts, its engine."""

import numpy as np
import pandas as pd

from workloads import Workload

from ..scenario import EngineOptions
from ..simulation import run_scenario
from .runs import EngineRun


def replay(run: EngineRun) -> pd.DataFrame:
    """What the simulator predicts for each of the run's requests, in their order: arrival_s, ttft_s, tpot_s, e2e_s."""
    options = EngineOptions(
        block_size=run.block_size,
        num_blocks=run.num_blocks,
        max_num_seqs=run.max_num_seqs,
        max_num_batched_tokens=run.max_num_batched_tokens,
    )
    return run_scenario(run.scenario(run.name, options), workload(run)).requests[
        ["arrival_s", "ttft_s", "tpot_s", "e2e_s"]
    ]


def workload(run: EngineRun) -> Workload:
    """The run's requests: equal prompts share their whole text, different prompts nothing.

    A client counts no tokens for a request that it gave up; such a request gets the median length of its prompt, or
    of all where its prompt was never answered.
    """
    table = run.requests
    counted = table["input_tokens"].where(table["input_tokens"] > 0)
    same_prompt = counted.groupby(table["prompt_id"]).transform("median")
    input_tokens = counted.fillna(same_prompt).fillna(counted.median()).round().to_numpy(np.int64)
    before = pd.Series(np.arange(len(table))).groupby(table["prompt_id"]).shift(fill_value=-1).to_numpy(np.int64)
    shared = np.where(before >= 0, np.minimum(input_tokens, input_tokens[before]), 0)
    return Workload.build(
        arrival_s=table["arrival_s"].to_numpy(float),
        input_tokens=input_tokens,
        output_tokens=np.full(len(table), run.output_tokens),
        prefix_request=before,
        prefix_tokens=shared,
    )
