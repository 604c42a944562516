"""A log of what the instances did within a window of time, for a trace of the run."""

from .jit import compiled


@compiled
def note_jump(sim, i, iterations, failed):
    """Instance ``i``'s jump is over, after ``iterations``, or with ``failed`` because the instance fails now."""
    cluster, inst = sim.cluster[0], sim.inst[i]
    if inst.start >= cluster.jumps_until or cluster.clock <= cluster.jumps_from:
        return
    jump = sim.jump[cluster.noted_jumps]
    jump.instance = i
    jump.start = inst.start
    jump.end = cluster.clock
    jump.iterations = iterations
    jump.failed = failed
    jump.decodes = 0 if inst.paused else inst.decoding
    jump.chunks = inst.step_chunks
    jump.prefill_tokens = inst.step_prefill
    jump.running = inst.running
    jump.waiting = inst.waiting
    jump.blocks_used = inst.usable - inst.blank - inst.idle
    cluster.noted_jumps += 1
