"""How long a step takes, as the kernel sees it: integer tables, affine in KV for a fixed batch."""

import math
from typing import NamedTuple

import numpy as np

from .jit import inlined

PAIR_SHIFT = 10  # a pair may take some ten picoseconds (small model, many large GPUs): whole ones are too coarse


class StepTable(NamedTuple):
    """Step-time tables of one (model, GPU, parallelism), in integer picoseconds.

    A step has ``s`` sequences: ``D`` decode requests, whose contexts sum to ``KV`` tokens (to ``WKV`` with at most
    ``window_tokens`` of each; ``GKV`` of ``KV`` were generated, not prompt), and prefill chunks of ``n`` tokens on top
    of ``context`` tokens, ``X`` tokens together.
    The pipeline has ``P`` stages and as many microbatches of up to ``B`` tokens: ``m`` = min(X, B) + ceil(D / P)
    tokens in each that has prefill, which are ``b`` = max(1, ceil(X / B)). The step takes

        linear_ps[m] + sequence_ps[s]
          + decode_ps[D] + decode_kv_ps[D] * KV + decode_window_ps[D] * WKV + decode_generated_ps[D] * GKV
          + (mixed_step_ps if there are chunks and decode requests, prefill_step_ps if there are only chunks)
          + floor of 1 / b of the sum over chunks of
              prefill_ps[n] + (prefill_pair[n] * (pairs[context + n] - pairs[context]) >> PAIR_SHIFT)
              + prefill_context_ps * context

    The position table says what attention is: ``pairs[x]`` = x (x + 1) / 2 if each token sees all those before it, less
    with a sliding window or sparse attention. Without a pipeline, ``P`` = ``b`` = 1 and ``m`` is the step's tokens.
    """

    linear_ps: np.ndarray  # [P * B + 1]
    sequence_ps: np.ndarray  # [max_num_seqs + 1]
    prefill_ps: np.ndarray  # [P * B + 1]
    prefill_pair: np.ndarray  # [P * B + 1], in 2**-PAIR_SHIFT ps a pair
    pairs: np.ndarray  # [longest prompt and output + 1]: (query, key) pairs of the first tokens, never decreasing
    decode_ps: np.ndarray  # [max_num_seqs + 1]
    decode_kv_ps: np.ndarray  # [max_num_seqs + 1]
    decode_window_ps: np.ndarray  # [max_num_seqs + 1]
    decode_generated_ps: np.ndarray  # [max_num_seqs + 1]
    window_tokens: int  # of the layers with a sliding window; 0 = there is none
    prefill_step_ps: int
    mixed_step_ps: int
    prefill_context_ps: int = 0  # a token of context: latent attention multiplies its latents out for each chunk


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
def microbatches(sim, i, prefill_tokens, decodes):
    """Tokens of each microbatch that has prefill, and how many of them a step has (at least 1)."""
    group = sim.group[sim.inst[i].group]
    if group.stages == 1:
        return prefill_tokens + decodes, 1
    most, stages = group.microbatch_tokens, group.stages
    return min(prefill_tokens, most) + (decodes + stages - 1) // stages, max(1, (prefill_tokens + most - 1) // most)


@inlined
def batch_ps(sim, i, tokens, sequences, decodes, decode_kv_tokens, window_kv_tokens, generated_tokens):
    """Duration of a step without its prefill attention, with ``tokens`` in a microbatch."""
    g = sim.inst[i].group
    row = sim.by_seqs[g, decodes]
    return (
        sim.by_tokens[g, tokens].linear
        + sim.by_seqs[g, sequences].sequence
        + row.decode
        + row.decode_kv * decode_kv_tokens
        + row.decode_window * window_kv_tokens
        + row.decode_generated * generated_tokens
    )


@inlined
def batch_slope_ps(sim, i, decodes, growing):
    """By how much each iteration of a fixed batch is longer than the one before, while ``growing`` of its ``decodes``
    contexts are shorter than the window.
    """
    row = sim.by_seqs[sim.inst[i].group, decodes]
    return (row.decode_kv + row.decode_generated) * decodes + row.decode_window * growing


@inlined
def chunk_ps(sim, i, tokens, context_tokens):
    """What one prefill chunk adds to its step."""
    g = sim.inst[i].group
    row = sim.by_tokens[g, tokens]
    new_pairs = sim.pairs[g, context_tokens + tokens] - sim.pairs[g, context_tokens]
    multiplied_out_ps = sim.group[g].prefill_context * context_tokens
    return row.prefill + (row.prefill_pair * new_pairs >> PAIR_SHIFT) + multiplied_out_ps


@inlined
def launch_ps(sim, i, chunks, decodes):
    """What a step pays once for having prefill chunks at all."""
    if chunks == 0:
        return 0
    group = sim.group[sim.inst[i].group]
    return group.prefill_step if decodes == 0 else group.mixed_step
