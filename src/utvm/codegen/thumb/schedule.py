"""List scheduling of one block under a limit of registers.

In: a block's instructions, what is live behind it, a limit. Out: the cheapest order found and the
most registers it needs at once. Several greedy strategies are tried and each result is priced on
the pipeline: how many loads are grouped before arithmetic goes on (a single-issue core overlaps
neighbouring loads, a dual-issue core pairs each with arithmetic), and how many registers are kept
free for intermediate results. Loads never overtake each other: so the operands that the oldest
arithmetic waits for are always first. Nothing takes a register that what stands before it in the
text needs, so that no choice runs into a dead end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from utvm.codegen.thumb.builder import CONSTANTS
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
    leave free. ``critical``: whether the longest way to the end goes before the order of text."""

    group: int
    reserve: int
    critical: bool = False


def schedule(
    block: Block, out: frozenset[int], limit: int, pipeline: Pipeline, *, thorough: bool = True
) -> Scheduled:
    """The best order of a block that is found; above ``limit`` only where none keeps to it.

    Registers that live through the block unmentioned must not be in ``out``. Without ``thorough``
    only the order of the text and two strategies are tried.
    """
    body = _Body(_prepared(block.insts, out), out, live_in(block, out))
    found = _priced(block, body, list(range(len(body.insts))), pipeline)
    best, seen = found, {tuple(range(len(body.insts)))}
    strategies = _strategies(pipeline, len(body.insts))
    for strategy in strategies if thorough else strategies[:2]:
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


def _prepared(insts: Sequence[Inst], out: frozenset[int]) -> list[Inst]:
    """Accesses move their pointers where they can; what only serves a later instruction of the
    block stands right before the first that needs it, so that the order of the text keeps few
    values."""
    merged = with_post_index(insts, POST_LIMIT)
    order = dependences(merged)
    writers: dict[int, int] = {}
    for inst in merged:
        for register in inst.defs:
            writers[register] = writers.get(register, 0) + 1
    serves = [
        bool(inst.defs) and all(writers[d] == 1 and d not in out for d in inst.defs)
        for inst in merged
    ]
    result: list[int] = []
    done: set[int] = set()

    def place(at: int) -> None:
        for earlier in sorted(order.before[at] - done):
            if earlier not in done:
                place(earlier)
        done.add(at)
        result.append(at)

    for at in range(len(merged)):
        wanted = not serves[at] or not order.after[at]
        if wanted and at not in done:
            place(at)
    return settle(merged, result, order.floating)


def _strategies(pipeline: Pipeline, count: int) -> list[Strategy]:
    if pipeline.width == 1:
        found = [Strategy(group, 0) for group in (4, 2, 3, 6, 1)]
        found += [Strategy(4, 1)]
    else:
        found = [Strategy(1, reserve) for reserve in (0, 1, 2)]
    if count <= _SHORT_BLOCK or pipeline.width == 2:
        found += [replace(strategy, critical=True) for strategy in found]
    return found if count <= _LONG_BLOCK else found[:2]


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
        self.loads = [is_load(inst) or _is_constant(inst) for inst in insts]
        self.parts = [parts_of(inst) for inst in insts]
        self.written = [real(inst.defs) for inst in insts]
        self.touched = [tuple({*real(i.uses), *real(i.defs)}) for i in insts]
        self.multiplies = [inst.op.startswith("sm") for inst in insts]
        self.mentions: dict[int, int] = {}
        for registers in self.touched:
            for register in registers:
                self.mentions[register] = self.mentions.get(register, 0) + 1
        self.mentions |= {r: 1 << 30 for r in out if r in self.mentions}

    def depths(self) -> list[int]:
        """How many instructions must follow each, at least."""
        depth = [0] * len(self.insts)
        for at in reversed(range(len(self.insts))):
            weight = 3 if self.loads[at] else 1
            depth[at] = weight + max((depth[n] for n in self.order.after[at]), default=0)
        return depth


def _is_constant(inst: Inst) -> bool:
    return inst.op in CONSTANTS


class _List:
    """One greedy run. Constants count as loads: both are made no sooner than their turn comes."""

    def __init__(self, body: _Body, limit: int, pipeline: Pipeline, strategy: Strategy) -> None:
        self.body, self.limit, self.strategy = body, limit, strategy
        self.single = pipeline.width == 1
        self.line = timeline(pipeline)
        self.waiting = [len(before) for before in body.order.before]
        self.ready = [at for at, count in enumerate(self.waiting) if count == 0]
        self.loads = [at for at, load in enumerate(body.loads) if load]
        self.live = set(body.entry)
        self.mentions = dict(body.mentions)
        self.text = list(range(len(body.insts)))
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
        self.text.remove(at)
        for part in body.parts[at]:
            self.line.issue(part)
        for following in body.order.after[at]:
            self.waiting[following] -= 1
            if self.waiting[following] == 0:
                self.ready.append(following)
        self.loading = is_load(body.insts[at])
        if body.loads[at]:
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
        return min(loads + others, key=self._key, default=self.text[0])

    def _fitting(self, room: int) -> tuple[list[int], list[int]]:
        """The ready instructions that there are registers for: the next load, and the others."""
        loads: list[int] = []
        others: list[int] = []
        for at in self.ready:
            if self.body.loads[at] and at != self.loads[0]:
                continue
            growth = self._growth(at)
            if growth > 0 and not self._affordable(at, growth, room):
                continue
            (loads if self.body.loads[at] else others).append(at)
        return loads, others

    def _affordable(self, at: int, growth: int, room: int) -> bool:
        """Whether there are registers for ``at`` and, behind it, for all that stands before it in
        the text, in that order."""
        first = self.text[0]
        if growth + (0 if at == first else self.strategy.reserve) > room:
            return False
        used = growth
        made: set[int] = set(self.body.written[at])
        gone: dict[int, int] = {}
        for register in self.body.touched[at]:
            gone[register] = 1
        for earlier in self.text:
            if earlier >= at:
                return True
            for register in self.body.written[earlier]:
                if register not in self.live and register not in made:
                    made.add(register)
                    used += 1
            if used > room:
                return False
            for register in self.body.touched[earlier]:
                gone[register] = gone.get(register, 0) + 1
                used -= self.mentions[register] == gone[register]
        return True

    def _choose_single(self, room: int, loads: list[int], others: list[int]) -> int:
        """Loads in groups, arithmetic in between."""
        wanted = self.strategy.group + self.strategy.reserve
        if loads and (self.loading or not others or room >= wanted):
            return loads[0]
        if others:
            return min(others, key=self._key)
        return loads[0] if loads else self.text[0]

    def _key(self, at: int) -> tuple[int, int, int, int]:
        parts = self.body.parts[at]
        wait = self.line.wait(parts[0]) if parts else 0
        if self.single:
            return wait, -self.depth[at], min(self._growth(at), 0), at
        if self.strategy.critical:
            return wait, -self.depth[at], 0, at
        kind = 0 if self.body.multiplies[at] else 2 if self.body.loads[at] else 1
        return wait, kind, 0, at
