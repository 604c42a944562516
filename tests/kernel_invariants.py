"""What must hold in the kernel's state between any two events, recomputed from scratch."""

import numpy as np

from sim.kernel.line import POOL_LINE, gpu_line, host_line
from sim.kernel.state import DECODE, LRU, NONE, PARKED, POOL, PREFILL, Sim


def check_state(sim: Sim) -> None:
    """Raise AssertionError where counts, links and the blocks they stand for disagree."""
    size = int(sim.cluster["block_size"][0])
    caching = bool(sim.cluster["caching"][0])
    whole = {s: int(sim.seg[x]["end_block"] - sim.seg[x]["first_block"]) for s, x in _slots(sim)}
    for i, inst in enumerate(sim.inst):
        slots = [s for s, _ in _slots(sim) if sim.slot[s]["instance"] == i]
        running = _running(sim, i)
        assert len(running) == inst["running"], "running requests are all on the list"
        _check_slots(sim, slots, running, whole)
        (_check_lru if sim.cluster["eviction"][0] == LRU else _check_leaves)(sim, i, slots)
        _check_tier(sim, host_line(i), slots)
        in_use = sum(int(sim.slot[s]["in_use"]) for s in slots)
        kv = 0
        for r in running:
            req = sim.req[r]
            computed = int(req["computed"])
            if req["state"] == DECODE:
                computed = int(req["anchor"] + inst["iteration"] + inst["grown"])
                kv += int(req["anchor"] + inst["iteration"])
            held, full = -(-computed // size), computed // size
            if not caching:
                in_use += held
                continue
            covered = 0
            if req["slot"] != NONE:
                covered = int(sim.seg[sim.slot[req["slot"]]["segment"]]["first_block"] + req["extent"])
            assert req["in_tail"] or req["state"] == DECODE or covered == full, "cached blocks follow computed tokens"
            in_use += int(req["private"]) + held - covered
        assert in_use == inst["usable"] - inst["blank"] - inst["idle"], "blocks: in use + idle + blank = usable"
        assert inst["blank"] >= 0 and inst["idle"] >= 0, "blocks in use never exceed the usable ones"
        assert kv == inst["decode_kv"], "KV tokens of the decode batch"
        states = [int(sim.req[r]["state"]) for r in running]
        assert inst["decoding"] == states.count(DECODE) == inst["due"]
        if len(sim.itl_counts) > 1:
            classes = [sim.itl_class[r] for r, state in zip(running, states, strict=True) if state == DECODE]
            assert sim.decoding_of[i].tolist() == np.bincount(classes, minlength=len(sim.itl_counts)).tolist()
        assert inst["parked"] == states.count(PARKED)
        assert inst["prefilling"] == states.count(PREFILL)
        on_instance = (sim.req["instance"] == i) & (sim.req["queued"] != 0)
        assert inst["queued_prefill"] == sim.req["queued"][on_instance].sum(), "queued prefill tokens"

    pooled = [s for s, _ in _slots(sim) if sim.slot[s]["instance"] == POOL]
    _check_tier(sim, POOL_LINE, pooled)
    assert len(pooled) == (sim.seg["pool_slot"] != NONE).sum()
    for s in pooled:
        slot = sim.slot[s]
        assert slot["resident"] == 0 < slot["stored"] <= whole[s] and sim.seg["pool_slot"][slot["segment"]] == s
        above = int(sim.seg[slot["segment"]]["parent"])
        if above != NONE:
            kept = sim.slot[sim.seg["pool_slot"][above]]["stored"]
            assert kept == sim.seg[above]["end_block"] - sim.seg[above]["first_block"], "the pool is closed"


def check_work(sim: Sim) -> None:
    """Raise AssertionError where an instance idles although it has work, or was busy longer than time has passed."""
    has_work = sim.inst["waiting"] + sim.inst["running"] > 0
    in_flight = sim.inst["planned"] > 0
    starting = sim.inst["queued_start"] == 1
    frozen = sim.inst["frozen"] == 1
    assert (in_flight | starting | frozen)[has_work].all(), (
        "work conservation: a step is in flight or starts at this instant"
    )
    assert has_work[in_flight].all(), "no step without a request"
    assert (sim.inst["busy_ps"] <= sim.cluster["clock"][0]).all(), "busy time never exceeds elapsed time"


def _slots(sim: Sim) -> list[tuple[int, int]]:
    used = np.flatnonzero(sim.slot["segment"] != NONE)
    return [(int(s), int(sim.slot[s]["segment"])) for s in used]


def _running(sim: Sim, i: int) -> list[int]:
    running = []
    r = int(sim.inst[i]["run_head"])
    while r != NONE:
        running.append(r)
        r = int(sim.req[r]["run_next"])
    return running


def _check_slots(sim: Sim, slots: list[int], running: list[int], whole: dict[int, int]) -> None:
    for s in slots:
        slot = sim.slot[s]
        users = [int(sim.req[r]["extent"]) for r in running if sim.req[r]["slot"] == s]
        children = [c for c in slots if sim.slot[c]["parent"] == s]
        busy = sum(sim.slot[c]["in_use"] > 0 for c in children) + users.count(whole[s])
        assert slot["children"] == sum(sim.slot[c]["resident"] > 0 for c in children)
        assert slot["busy"] == busy, "users of a whole slot"
        assert slot["partial"] == len(users) - users.count(whole[s]), "users of a part of a slot"
        assert slot["in_use"] == (whole[s] if busy else max(users, default=0)), "blocks in use of a slot"
        held = slot["resident"] + slot["stored"]
        assert 0 < held <= whole[s] and slot["in_use"] <= slot["resident"]
        if sim.seg[slot["segment"]]["shared"]:
            assert sim.holder[sim.seg[slot["segment"]]["holders"] + slot["place"]]["resident"] == held
        parent = int(slot["parent"])
        segment_parent = int(sim.seg[slot["segment"]]["parent"])
        assert (parent == NONE) == (segment_parent == NONE)
        if parent != NONE:
            assert sim.slot[parent]["segment"] == segment_parent
            above = sim.slot[parent]
            assert above["resident"] + above["stored"] == whole[parent], "GPU and host memory are closed together"
            assert above["resident"] == whole[parent] or slot["resident"] == 0, "resident prefixes are closed"


def _end_of_pieces(sim: Sim, s: int, first: int, chain: str = "piece") -> int:
    """Where the pieces of slot ``s`` end, which begin at block ``first`` and leave no gap."""
    at, p = first, int(sim.slot[s][chain])
    while p != NONE:
        assert sim.piece[p]["slot"] == s and sim.piece[p]["low"] == at < sim.piece[p]["high"]
        at, p = int(sim.piece[p]["high"]), int(sim.piece[p]["deeper"])
    return at


def _check_lru(sim: Sim, i: int, slots: list[int]) -> None:
    for s in slots:
        covered = _end_of_pieces(sim, s, int(sim.slot[s]["in_use"]))
        assert covered == sim.slot[s]["resident"], "idle pieces cover what is resident and not in use"
    assert _blocks_in_line(sim, gpu_line(i), slots) == sim.inst[i]["idle"], "idle blocks"


def _blocks_in_line(sim: Sim, at: int, slots: list[int]) -> int:
    blocks, before, p = 0, NONE, int(sim.line[at]["oldest"])
    while p != NONE:
        assert sim.piece[p]["lru_prev"] == before and int(sim.piece[p]["slot"]) in slots
        blocks += int(sim.piece[p]["high"] - sim.piece[p]["low"])
        before, p = p, int(sim.piece[p]["lru_next"])
    assert before == sim.line[at]["newest"]
    return blocks


def _check_tier(sim: Sim, at: int, slots: list[int]) -> None:
    for s in slots:
        first = int(sim.slot[s]["resident"])
        end = _end_of_pieces(sim, s, first, "stored_piece")
        assert end == first + sim.slot[s]["stored"], "pieces cover what is stored, after what is resident"
    blocks = _blocks_in_line(sim, at, slots)
    assert blocks == sim.line[at]["blocks"] <= sim.line[at]["capacity"], "a tier never exceeds its capacity"


def _check_leaves(sim: Sim, i: int, slots: list[int]) -> None:
    """The same under other policies than LRU."""
    waiting = set()
    for s in slots:
        slot = sim.slot[s]
        idle = slot["in_use"] < slot["resident"]
        covered = _end_of_pieces(sim, s, 0)
        assert covered <= slot["resident"] and (covered == slot["resident"] or not idle), "pieces cover idle blocks"
        assert (slot["waiting"] != NONE) == (idle and slot["children"] == 0), "idle leaves wait to be evicted"
        if slot["waiting"] != NONE:
            assert sim.piece[slot["waiting"]]["deeper"] == NONE, "the deepest piece goes first"
            waiting.add(int(slot["waiting"]))
    assert sim.inst[i]["idle"] == sum(int(sim.slot[s]["resident"] - sim.slot[s]["in_use"]) for s in slots)
    assert set(_queued_pieces(sim, i)) == waiting


def _queued_pieces(sim: Sim, i: int) -> list[int]:
    found, todo = [], [(int(root), NONE) for root in sim.queue[i]["root"] if root != NONE]
    while todo:
        p, above = todo.pop()
        found.append(p)
        if above != NONE:
            keys = [(int(sim.rank[at]["score"]), int(sim.rank[at]["stamp"])) for at in (above, p)]
            assert keys[0] < keys[1], "the heap is in order"
        left, child = p, int(sim.rank[p]["child"])
        while child != NONE:
            assert sim.rank[child]["back"] == left
            todo.append((child, p))
            left, child = child, int(sim.rank[child]["sibling"])
    return found
