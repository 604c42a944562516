"""Lines: the idle blocks of one place in the order in which they will be forgotten.

A line links *pieces*, ranges of a slot that joined it together. Within a piece the last block goes first. The pieces of
one slot in one line form a chain, from the shallowest, whose start the slot keeps; a function that changes a chain
returns its new start. Each instance has two lines, of its GPU (under LRU) and of its host memory; the pool has one.
"""

from .jit import compiled, inlined
from .slots import drop_piece, new_piece
from .state import NONE

POOL_LINE = 0


@inlined
def gpu_line(i):
    return 2 * i + 1


@inlined
def host_line(i):
    return 2 * i + 2


@inlined
def join_line(sim, at, s, low, high, chain):
    """Blocks [low, high) of slot ``s`` join line ``at``, above those of ``chain``; return the chain."""
    line = sim.line[at]
    p = new_piece(sim, s, low, high)
    piece = sim.piece[p]
    piece.deeper = chain
    piece.lru_next = NONE
    piece.lru_prev = line.newest
    if line.newest == NONE:
        line.oldest = p
    else:
        sim.piece[line.newest].lru_next = p
    line.newest = p
    return p


@inlined
def _leave_line(sim, at, p):
    line, piece = sim.line[at], sim.piece[p]
    if piece.lru_prev == NONE:
        line.oldest = piece.lru_next
    else:
        sim.piece[piece.lru_prev].lru_next = piece.lru_next
    if piece.lru_next == NONE:
        line.newest = piece.lru_prev
    else:
        sim.piece[piece.lru_next].lru_prev = piece.lru_prev
    drop_piece(sim, p)


@compiled
def claim_from_line(sim, at, chain, blocks):
    """Those of a chain that are among its slot's first ``blocks`` blocks leave line ``at``; return how many, and the
    chain.
    """
    claimed = 0
    while chain != NONE:
        p = chain
        piece = sim.piece[p]
        if piece.low >= blocks:
            break
        taken = min(piece.high, blocks) - piece.low
        piece.low += taken
        claimed += taken
        if piece.low < piece.high:
            break
        chain = piece.deeper
        _leave_line(sim, at, p)
    return claimed, chain


@inlined
def without_deepest(sim, chain, p):
    """The chain without its last piece ``p``."""
    if chain == p:
        return NONE
    above = chain
    while sim.piece[above].deeper != p:
        above = sim.piece[above].deeper
    sim.piece[above].deeper = NONE
    return chain


@compiled
def cut_oldest(sim, at, chain, blocks):
    """Up to ``blocks`` blocks leave line ``at``, from the end of its oldest piece, which is the last of ``chain``;
    return how many, and the chain.
    """
    p = sim.line[at].oldest
    piece = sim.piece[p]
    taken = min(blocks, piece.high - piece.low)
    piece.high -= taken
    if piece.high == piece.low:
        chain = without_deepest(sim, chain, p)
        _leave_line(sim, at, p)
    return taken, chain


@inlined
def empty_line(sim, at):
    line = sim.line[at]
    line.oldest = NONE
    line.newest = NONE
    line.blocks = 0
