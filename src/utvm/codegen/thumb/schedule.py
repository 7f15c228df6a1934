"""List scheduling of one block under a limit of registers.

In: a prepared block and a limit. Out: the cheapest order found and the most registers it needs at
once. Several greedy strategies are tried, each walks the pipeline as it goes: how many loads are
grouped before arithmetic goes on (a single-issue core overlaps neighbouring loads, a dual-issue
core pairs each with arithmetic), and how many registers are kept free for intermediate results.
Loads never overtake each other: so the operands that the oldest arithmetic waits for are always
first. Nothing takes a register that what stands before it in the text needs, so that no choice
runs into a dead end.
"""

from __future__ import annotations

from dataclasses import dataclass

from utvm.codegen.thumb.body import Body
from utvm.codegen.thumb.flow import settle
from utvm.codegen.thumb.machine import Inst
from utvm.codegen.thumb.pricing import DualIssue, timeline
from utvm.target.pipeline import Pipeline

_LONG_BLOCK = 400  # instructions; longer blocks are tried with fewer strategies
_UNBOUNDED = 1 << 60


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


def schedule(body: Body, limit: int, pipeline: Pipeline, *, thorough: bool = True) -> Scheduled:
    """The best order of a block that is found; above ``limit`` only where none keeps to it.

    Registers that live through the block unmentioned must not be in ``out``. Without ``thorough``
    the order stays that of the text.
    """
    best: _Run = _Run(body, limit, pipeline, _UNBOUNDED)
    best.run()
    runner = _SingleRun if pipeline.width == 1 else _DualRun
    strategies = _strategies(pipeline, len(body.insts))
    for strategy in strategies if thorough else strategies[:1]:
        bound = best.cycles if best.pressure <= limit else _UNBOUNDED
        run = runner(body, limit, pipeline, bound, strategy)
        if run.run() and run.rank() < best.rank():
            best = run
    insts = settle(body.insts, best.order, body.floating)
    return Scheduled(tuple(insts), best.cycles, best.pressure)


_SINGLE = (Strategy(4, 0), Strategy(6, 0), Strategy(3, 0), Strategy(4, 1))
_DUAL = (Strategy(1, 0), Strategy(1, 0, True), Strategy(1, 2, True), Strategy(1, 1, True))


def _strategies(pipeline: Pipeline, count: int) -> tuple[Strategy, ...]:
    """Those that are worth their time; the first is the best most of the time."""
    found = _SINGLE if pipeline.width == 1 else _DUAL
    return found if count <= _LONG_BLOCK else found[:2]


class _Run:
    """One way through a block, here in the order of the text. ``live`` registers are ``count``;
    ``left`` tells how often each is still to be mentioned, and ``growth`` by how many registers
    each instruction would make more live. ``rest`` is the least that the remaining instructions
    cost: a run that can't be cheaper than ``bound`` is given up."""

    def __init__(self, body: Body, limit: int, pipeline: Pipeline, bound: int) -> None:
        self.body, self.limit, self.bound = body, limit, bound
        self.width = pipeline.width
        self.line = timeline(pipeline)
        self.waiting = list(body.waiting)
        self.issued = [False] * len(body.insts)
        self.first = 0  # the first instruction of the text that has not issued
        self.live, self.left, self.growth = list(body.entry), list(body.left), list(body.growth)
        self.count = sum(self.live)
        self.rest = body.least
        self.order: list[int] = []
        self.cycles = 0
        self.pressure = self.count

    def rank(self) -> tuple[int, int, int]:
        """Less is better."""
        return max(0, self.pressure - self.limit), self.cycles, self.pressure

    def run(self) -> bool:
        """Whether the run has come to its end."""
        line, total = self.line, len(self.body.insts)
        while len(self.order) < total:
            if line.now + self.rest // self.width >= self.bound:
                return False
            self._issue(self._choose())
        if self.body.block.target:
            line.close()
        self.cycles = line.now
        if self.width == 2 and self.body.block.loops:
            self._repeat()
        return True

    def _repeat(self) -> None:
        """Prices a loop in its steady state."""
        parts = [part for at in self.order for part in self.body.parts[at]]
        for _ in range(2):
            before = self.line.now
            for part in parts:
                self.line.issue(part)
            self.line.close()
            self.cycles = self.line.now - before

    def _choose(self) -> int:
        return self.first

    def _issue(self, at: int) -> None:
        body, waiting, issued, line = self.body, self.waiting, self.issued, self.line
        self.order.append(at)
        issued[at] = True
        if at == self.first:
            first = at + 1
            while first < len(issued) and issued[first]:
                first += 1
            self.first = first
        parts = body.parts[at]
        for part in parts:
            line.issue(part)
        self.rest -= len(parts)
        for following in body.after[at]:
            waiting[following] -= 1
            if waiting[following] == 0:
                self._ready(following)
        self._hold(at)

    def _ready(self, at: int) -> None:
        """What an instruction waits for has been issued."""

    def _hold(self, at: int) -> None:
        """Notes which registers are live behind an instruction."""
        body, live, left, growth = self.body, self.live, self.left, self.growth
        count, dead = self.count, 0
        written = body.written[at]
        for register in written:
            if not live[register]:
                live[register] = True
                count += 1
                for writer in body.writers[register]:
                    growth[writer] -= 1
        for register in body.touched[at]:
            rest = left[register] = left[register] - 1
            if rest == 0:
                live[register] = False
                count -= 1
                dead += register in written
            elif rest == 1:
                issued = self.issued
                last = next(m for m in body.mentions[register] if not issued[m])
                growth[last] -= 1
        self.count = count
        if count + dead > self.pressure:
            self.pressure = count + dead

    def _affordable(self, at: int, reserve: int) -> bool:
        """Whether there are registers for ``at`` and, behind it, for all that stands before it in
        the text, in that order."""
        room, used = self.limit - self.count, self.growth[at]
        if used <= 0:
            return True
        if used + (0 if at == self.first else reserve) > room:
            return False
        body, issued, live = self.body, self.issued, self.live
        made = set(body.written[at])
        gone = dict.fromkeys(body.touched[at], 1)
        for earlier in range(self.first, at):
            if issued[earlier]:
                continue
            for register in body.written[earlier]:
                if not live[register] and register not in made:
                    made.add(register)
                    used += 1
            if used > room:
                return False
            for register in body.touched[earlier]:
                gone[register] = gone.get(register, 0) + 1
                used -= self.left[register] == gone[register]
        return True


class _Greedy(_Run):
    """Chooses among the ready instructions that there are registers for. Constants count as loads:
    both are made no sooner than their turn comes, so ``ready`` has all others."""

    def __init__(
        self, body: Body, limit: int, pipeline: Pipeline, bound: int, strategy: Strategy
    ) -> None:
        super().__init__(body, limit, pipeline, bound)
        self.strategy = strategy
        self.depth = body.depths() if strategy.critical else [0] * len(body.insts)
        self.turn = [at for at, ordered in enumerate(body.ordered) if ordered]
        self.next = 0  # the place in ``turn``
        waits = zip(body.waiting, body.ordered, strict=True)
        self.ready = [at for at, (count, ordered) in enumerate(waits) if not (count or ordered)]

    def _ready(self, at: int) -> None:
        if not self.body.ordered[at]:
            self.ready.append(at)

    def _issue(self, at: int) -> None:
        if self.body.ordered[at]:
            self.next += 1
        else:
            self.ready.remove(at)
        super()._issue(at)

    def _load(self) -> int:
        """The load whose turn it is, -1 where that must wait."""
        if self.next == len(self.turn):
            return -1
        load = self.turn[self.next]
        return -1 if self.waiting[load] else load


class _SingleRun(_Greedy):
    """Loads in groups, arithmetic in between."""

    def _choose(self) -> int:
        body, reserve = self.body, self.strategy.reserve
        load = self._load()
        grouped = bool(self.order) and body.loads[self.order[-1]]
        if grouped or self.limit - self.count >= self.strategy.group + reserve:
            if load >= 0 and self._affordable(load, reserve):
                return load
            load = -1
        other = self._other()
        if other >= 0:
            return other
        return load if load >= 0 and self._affordable(load, reserve) else self.first

    def _other(self) -> int:
        """The best of the rest, -1 where there is none."""
        parts_of, line, growth, depth = self.body.parts, self.line, self.growth, self.depth
        best, found = (_UNBOUNDED, 0, 0, 0), -1
        for at in self.ready:
            parts = parts_of[at]
            wait = line.wait(parts[0]) if parts else 0
            key = (wait, -depth[at], min(growth[at], 0), at)
            if key < best and self._affordable(at, self.strategy.reserve):
                best, found = key, at
        return found


class _DualRun(_Greedy):
    """What can issue soonest, multiplications first, so that loads come to stand beside them.
    ``earliest``: when the operands of a ready instruction are there."""

    line: DualIssue

    def __init__(
        self, body: Body, limit: int, pipeline: Pipeline, bound: int, strategy: Strategy
    ) -> None:
        super().__init__(body, limit, pipeline, bound, strategy)
        self.earliest = [0] * len(body.insts)
        critical, multiplies, ordered = strategy.critical, body.multiplies, body.ordered
        self.rank_of = [
            -self.depth[at] if critical else 0 if multiplies[at] else 2 if ordered[at] else 1
            for at in range(len(body.insts))
        ]

    def _ready(self, at: int) -> None:
        if not self.body.ordered[at]:
            self.ready.append(at)
            self._expect(at)

    def _expect(self, at: int) -> None:
        parts = self.body.parts[at]
        self.earliest[at] = self.line.earliest(parts[0]) if parts else 0

    def _issue(self, at: int) -> None:
        super()._issue(at)
        if self.body.moves[at]:
            for waiting in self.ready:
                self._expect(waiting)

    def _choose(self) -> int:
        line, reserve, best, found = self.line, self.strategy.reserve, (_UNBOUNDED, 0, 0), -1
        load = self._load()
        if load >= 0:
            self._expect(load)
        for at in self.ready if load < 0 else (load, *self.ready):
            parts = self.body.parts[at]
            wait = line.wait_from(self.earliest[at], parts[0]) if parts else 0
            key = (wait, self.rank_of[at], at)
            if key < best and self._affordable(at, reserve):
                best, found = key, at
        return found if found >= 0 else self.first
