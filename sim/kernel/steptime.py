"""How long a step takes, as the kernel sees it: integer tables, affine in KV for a fixed batch."""

import math
from typing import NamedTuple

import numpy as np

from .jit import inlined


class StepTable(NamedTuple):
    """Step-time tables of one (model, GPU, parallelism), in integer picoseconds.

    A step of ``m`` tokens and ``s`` sequences, with ``D`` decode requests whose contexts sum to ``KV`` tokens and
    prefill chunks of
    ``n`` tokens on top of ``context`` tokens, takes

        linear_ps[m] + sequence_ps[s] + decode_ps[D] + decode_kv_ps[D] * KV
          + (prefill_step_ps if there is a chunk) + sum(prefill_ps[n] + prefill_context_ps[n] * context)
    """

    linear_ps: np.ndarray
    sequence_ps: np.ndarray
    prefill_ps: np.ndarray
    prefill_context_ps: np.ndarray
    decode_ps: np.ndarray
    decode_kv_ps: np.ndarray
    prefill_step_ps: int


@inlined
def jump_ps(step_ps, slope_ps, iterations):
    """Duration of ``iterations`` decode iterations of a fixed batch: each is ``slope_ps`` longer than the one
    before.
    """
    return iterations * step_ps + slope_ps * (iterations * (iterations - 1) // 2)


@inlined
def iterations_until(step_ps, slope_ps, elapsed_ps):
    """How many iterations end at the first boundary at or after ``elapsed_ps`` (at least one): those started
    strictly before it.
    """
    if elapsed_ps <= step_ps:
        return 1
    if slope_ps == 0:
        return (elapsed_ps + step_ps - 1) // step_ps
    half = 0.5 * slope_ps
    linear = step_ps - half
    guess = int((math.sqrt(linear * linear + 4.0 * half * elapsed_ps) - linear) / slope_ps)
    while jump_ps(step_ps, slope_ps, guess) < elapsed_ps:
        guess += 1
    while jump_ps(step_ps, slope_ps, guess - 1) >= elapsed_ps:
        guess -= 1
    return guess


@inlined
def batch_ps(sim, tokens, sequences, decodes, decode_kv_tokens):
    """Duration of a step without what its prefill chunks add."""
    by_seqs = sim.by_seqs
    return (
        sim.by_tokens[tokens].linear
        + by_seqs[sequences].sequence
        + by_seqs[decodes].decode
        + by_seqs[decodes].decode_kv * decode_kv_tokens
    )


@inlined
def chunk_ps(sim, tokens, context_tokens):
    """What one prefill chunk adds to its step."""
    row = sim.by_tokens[tokens]
    return row.prefill + row.prefill_context * context_tokens
