"""List scheduling of one block under a limit of registers.

In: a block's instructions, what is live behind it, a limit. Out: the cheapest order found and the
most registers it needs at once. Several greedy strategies are tried and each result is priced on
the pipeline: how many loads are grouped before arithmetic goes on (a single-issue core overlaps
neighbouring loads, a dual-issue core pairs each with arithmetic), and how many registers are kept
free for intermediate results. Loads never overtake each other: so the operands that the oldest
arithmetic waits for are always first, and no choice runs into a dead end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from utvm.codegen.thumb.flow import dependences, live_in, settle, with_post_index
from utvm.codegen.thumb.isa import POST_LIMIT
from utvm.codegen.thumb.machine import Block, Inst, real
from utvm.codegen.thumb.pricing import is_load, parts_of, price, timeline
from utvm.target.pipeline import Pipeline

_SHORT_BLOCK = 60  # instructions; longer blocks are tried with fewer strategies
_LONG_BLOCK = 400


@dataclass(frozen=True)
class Scheduled:
    """An order of a block, its cycles and its greatest number of live registers."""

    insts: tuple[Inst, ...]
    cycles: int
    pressure: int


@dataclass(frozen=True)
class Strategy:
    """``group``: free registers that start a group of loads. ``reserve``: registers that loads
    leave free. ``critical``: whether the longest way to the end goes before the order of text.
    ``by_need``: whether loads come in the order of their first uses, not in that of the text."""

    group: int
    reserve: int
    critical: bool = False
    by_need: bool = False


def schedule(block: Block, out: frozenset[int], limit: int, pipeline: Pipeline) -> Scheduled:
    """The best order of a block that is found; above ``limit`` only where none keeps to it.

    Registers that live through the block unmentioned must not be in ``out``.
    """
    body = _Body(_merged(block.insts), out, live_in(block, out))
    found = _priced(block, body, list(range(len(body.insts))), pipeline)
    best, seen = found, {tuple(range(len(body.insts)))}
    for strategy in _strategies(pipeline, len(body.insts)):
        order = _List(body, limit, pipeline, strategy).run()
        if tuple(order) in seen:
            continue
        seen.add(tuple(order))
        found = _priced(block, body, order, pipeline)
        if _rank(found, limit) < _rank(best, limit):
            best = found
    return best


def _priced(block: Block, body: _Body, order: list[int], pipeline: Pipeline) -> Scheduled:
    result = settle(body.insts, order, body.order.floating)
    cycles = price(block, result, pipeline)
    return Scheduled(tuple(result), cycles, pressure(result, body.out))


def _rank(found: Scheduled, limit: int) -> tuple[int, int, int]:
    return max(0, found.pressure - limit), found.cycles, found.pressure


def _merged(insts: Sequence[Inst]) -> list[Inst]:
    """The block with accesses that move their pointers, where there are such."""
    return with_post_index(insts, POST_LIMIT)


def _strategies(pipeline: Pipeline, count: int) -> list[Strategy]:
    groups = (4, 2, 3, 1, 6) if pipeline.width == 1 else (1,)
    reserves = (0, 1, 2) if pipeline.width == 1 else (0, 1, 2, 3)
    needs = (False,) if pipeline.width == 1 else (True, False)
    found = [Strategy(g, r, by_need=n) for n in needs for g in groups for r in reserves]
    if count <= _SHORT_BLOCK or pipeline.width == 2:
        found += [replace(strategy, critical=True) for strategy in found]
    return found if count <= _LONG_BLOCK else found[:4]


def pressure(insts: Sequence[Inst], out: frozenset[int]) -> int:
    """The most registers that are live at once."""
    live = set(out)
    most = len(live)
    for inst in reversed(insts):
        live.update(real(inst.defs))
        most = max(most, len(live))
        live.difference_update(inst.defs)
        live.update(real(inst.uses))
    return max(most, len(live))


class _Body:
    """What every run needs to know of a block: by instruction its registers and its parts."""

    def __init__(self, insts: list[Inst], out: frozenset[int], entry: frozenset[int]) -> None:
        self.insts, self.out, self.entry = insts, out, entry
        self.order = dependences(insts)
        self.loads = [is_load(inst) for inst in insts]
        self.parts = [parts_of(inst) for inst in insts]
        self.written = [real(inst.defs) for inst in insts]
        self.touched = [tuple({*real(i.uses), *real(i.defs)}) for i in insts]
        self.loads_in_text = [at for at, load in enumerate(self.loads) if load]
        self.needed = sorted(self.loads_in_text, key=self._first_use)
        self.multiplies = [inst.op.startswith("sm") for inst in insts]
        self.mentions: dict[int, int] = {}
        for registers in self.touched:
            for register in registers:
                self.mentions[register] = self.mentions.get(register, 0) + 1
        self.mentions |= {r: 1 << 30 for r in out if r in self.mentions}

    def _first_use(self, at: int) -> int:
        """The first instruction that waits for a load."""
        return min(self.order.after[at], default=at)

    def depths(self) -> list[int]:
        """How many instructions must follow each, at least."""
        depth = [0] * len(self.insts)
        for at in reversed(range(len(self.insts))):
            weight = 3 if self.loads[at] else 1
            depth[at] = weight + max((depth[n] for n in self.order.after[at]), default=0)
        return depth


class _List:
    """One greedy run."""

    def __init__(self, body: _Body, limit: int, pipeline: Pipeline, strategy: Strategy) -> None:
        self.body, self.limit, self.strategy = body, limit, strategy
        self.single = pipeline.width == 1
        self.line = timeline(pipeline)
        self.waiting = [len(before) for before in body.order.before]
        self.ready = [at for at, count in enumerate(self.waiting) if count == 0]
        self.loads = list(body.needed if strategy.by_need else body.loads_in_text)
        self.live = set(body.entry)
        self.mentions = dict(body.mentions)
        self.depth = body.depths() if strategy.critical else [0] * len(body.insts)
        self.loading = False

    def run(self) -> list[int]:
        result: list[int] = []
        while self.ready:
            at = self._choose()
            self._issue(at)
            result.append(at)
        assert len(result) == len(self.body.insts), "dependences form a cycle"
        return result

    def _issue(self, at: int) -> None:
        body = self.body
        self.ready.remove(at)
        for part in body.parts[at]:
            self.line.issue(part)
        for following in body.order.after[at]:
            self.waiting[following] -= 1
            if self.waiting[following] == 0:
                self.ready.append(following)
        self.loading = body.loads[at]
        if self.loading:
            self.loads.remove(at)
        self.live.update(body.written[at])
        for register in body.touched[at]:
            self.mentions[register] -= 1
            if self.mentions[register] == 0:
                self.live.discard(register)

    def _growth(self, at: int) -> int:
        """By how many registers an instruction makes more live."""
        growth = 0
        for register in self.body.written[at]:
            growth += register not in self.live
        for register in self.body.touched[at]:
            growth -= self.mentions[register] == 1
        return growth

    def _choose(self) -> int:
        room = self.limit - len(self.live)
        loads, others = self._fitting(room)
        if self.single:
            return self._choose_single(room, loads, others)
        return min(loads + others, key=self._key, default=min(self.ready))

    def _fitting(self, room: int) -> tuple[list[int], list[int]]:
        """The ready instructions that there are registers for: the next load, and the others."""
        loads: list[int] = []
        others: list[int] = []
        for at in self.ready:
            if not self.body.loads[at]:
                if self._growth(at) <= room:
                    others.append(at)
            elif at == self.loads[0]:
                spare = room if at == min(self.ready) else room - self.strategy.reserve
                if self._growth(at) <= spare:
                    loads.append(at)
        return loads, others

    def _choose_single(self, room: int, loads: list[int], others: list[int]) -> int:
        """Loads in groups, arithmetic in between."""
        wanted = self.strategy.group + self.strategy.reserve
        if loads and (self.loading or not others or room >= wanted):
            return loads[0]
        if others:
            return min(others, key=self._key)
        return loads[0] if loads else min(self.ready)

    def _key(self, at: int) -> tuple[int, int, int, int]:
        parts = self.body.parts[at]
        wait = self.line.wait(parts[0]) if parts else 0
        if self.single:
            return wait, -self.depth[at], min(self._growth(at), 0), at
        if self.strategy.critical:
            return wait, -self.depth[at], 0, at
        kind = 0 if self.body.multiplies[at] else 2 if self.body.loads[at] else 1
        return wait, kind, 0, at
