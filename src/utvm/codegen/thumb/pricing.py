"""What an order of instructions costs on a pipeline, instruction by instruction.

``Timeline`` walks instructions over virtual registers through a single- or dual-issue pipeline as
the target describes it. The scheduler asks it when an instruction could issue, and what a finished
order costs; a block that loops on itself is priced in its steady state. These are the rules of
Arm's Cortex-M4 manual and of the Cortex-M7 pairing model in docs/design/emulator.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from utvm.codegen.thumb.isa import (
    ALU,
    BRANCH,
    EXTEND,
    LOAD,
    MULTIPLY,
    NARROW,
    NOTHING,
    OPS,
    SATURATE,
    SIMPLE,
    STORE,
    kind_of,
    roles_of,
)
from utvm.codegen.thumb.machine import Block, Inst
from utvm.target.pipeline import Pipeline

_LOADS = (LOAD, NARROW)
_OLDER_ONLY = (EXTEND, SATURATE)
OTHER = "other"


@dataclass(frozen=True)
class Part:
    """One real instruction with its registers by the time they are needed."""

    kind: str
    defs: tuple[int, ...]
    moved: int | None  # the base that the access writes back
    address: tuple[int, ...]
    sources: tuple[int, ...]
    shifted: tuple[int, ...]
    accumulator: tuple[int, ...]
    data: tuple[int, ...]
    bank: int | None = None
    branches: bool = False
    scaled: bool = False


@lru_cache(maxsize=1 << 14)
def parts_of(inst: Inst) -> tuple[Part, ...]:
    """The instructions that are printed for one: two for a conditional move or a long constant."""
    kind = kind_of(inst)
    if kind == NOTHING:
        return ()
    by_role: dict[str, list[int]] = {}
    for register, role in roles_of(inst):
        by_role.setdefault(role, []).append(register)
    memory = inst.memory
    moved = inst.base if memory is not None and memory.post else None
    part = Part(
        kind=kind,
        defs=tuple(d for d in inst.defs if d >= 0 and d != moved),
        moved=moved,
        address=tuple(by_role.get("address", ())),
        sources=tuple(by_role.get("source", ())),
        shifted=tuple(by_role.get("shifted", ())),
        accumulator=tuple(by_role.get("accumulator", ())),
        data=tuple(by_role.get("data", ())),
        bank=memory.offset if memory is not None and memory.scale is None else None,
        branches=kind == BRANCH,
        scaled=memory is not None and memory.scale is not None,
    )
    nothing = Part(OTHER, (), None, (), (), (), (), ())
    if inst.op in ("movc", "movci"):
        return nothing, part
    if inst.op == "mov32":
        second = Part(ALU, part.defs, None, (), part.defs, (), (), ())
        return Part(SIMPLE, part.defs, None, (), (), (), (), ()), second
    return (part,)


def timeline(pipeline: Pipeline) -> Timeline:
    """An empty pipeline."""
    return DualIssue(pipeline) if pipeline.width == 2 else SingleIssue(pipeline)


class Timeline:
    """Instructions on their way; ``now`` is the cycle reached."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.now = 0

    def wait(self, part: Part) -> int:
        """How many half cycles pass until an instruction has issued, if it were next."""
        raise AssertionError("abstract")

    def issue(self, part: Part) -> None:
        raise AssertionError("abstract")

    def close(self) -> None:
        """A jump has been taken."""
        raise AssertionError("abstract")


class SingleIssue(Timeline):
    """One instruction a cycle; loads overlap with the access behind them."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(pipeline)
        self.loaded: tuple[int, ...] = ()
        self.computed: tuple[int, ...] = ()

    def wait(self, part: Part) -> int:
        return 2 * self._cost(part)

    def _cost(self, part: Part) -> int:
        if part.kind not in (*_LOADS, STORE):
            return 1
        late = any(register in self.computed for register in part.address)
        wait = self.pipeline.address_cycles if late else 0
        if part.kind == STORE and not part.scaled:
            return 1 + wait
        overlaps = self.loaded and not any(register in self.loaded for register in part.address)
        cycles = self.pipeline.next_load_cycles if overlaps else self.pipeline.load_cycles
        return cycles + wait

    def issue(self, part: Part) -> None:
        self.now += self._cost(part)
        self.loaded = part.defs if part.kind in _LOADS else ()
        computes = part.kind not in (*_LOADS, STORE, BRANCH, OTHER)
        self.computed = part.defs if computes else ()

    def close(self) -> None:
        self.now += self.pipeline.branch_cycles - 1
        self.loaded = self.computed = ()


class DualIssue(Timeline):
    """Two instructions a cycle, in order. ``ready``: when a late ALU may use a register; ``late``:
    when a multiplier or a shifter may."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(pipeline)
        self.older: Part | None = None
        self.ready: dict[int, int] = {}
        self.late: dict[int, int] = {}
        self.latencies = {
            LOAD: pipeline.load_latency,
            NARROW: pipeline.narrow_load_latency,
            MULTIPLY: pipeline.multiply_latency,
            SATURATE: pipeline.saturate_latency,
        }

    def wait(self, part: Part) -> int:
        earliest = self._earliest(part)
        if self.older is not None and earliest <= self.now and _pairs(self.older, part):
            return 1
        return 2 * (max(earliest - self.now, 1 if self.older is not None else 0)) + 2

    def issue(self, part: Part) -> None:
        earliest = self._earliest(part)
        if self.older is not None:
            if earliest <= self.now and _pairs(self.older, part):
                self._retire(part, older=False)
                self.now += 1
                self.older = None
                return
            self.now += 1
        self.now = max(self.now, earliest)
        self._retire(part, older=True)
        self.older = part

    def close(self) -> None:
        if self.older is not None:
            self.now += 1
            self.older = None

    def _earliest(self, part: Part) -> int:
        plain = self.late if part.kind == MULTIPLY else self.ready
        return max(
            _latest(self.ready, part.address) + 1,
            _latest(self.late, part.shifted) + 1,
            _latest(plain, part.sources),
            _latest(self.ready, part.accumulator) - 1,
            _latest(self.ready, part.data) - 2,
            0,
        )

    def _retire(self, part: Part, older: bool) -> None:
        done = self.now + self.latencies.get(part.kind, 1)
        late = done
        if part.kind == LOAD:
            late = self.now + self.pipeline.multiplicand_load_latency
        elif older and part.kind == SIMPLE and _latest(self.ready, part.sources) < self.now:
            done = late = self.now
        for register in part.defs:
            self.ready[register], self.late[register] = done, late
        if part.moved is not None:
            self.ready[part.moved] = self.late[part.moved] = self.now


def _latest(ready: dict[int, int], registers: tuple[int, ...]) -> int:
    latest = -9
    for register in registers:
        latest = max(latest, ready.get(register, -9))
    return latest


def _pairs(older: Part, younger: Part) -> bool:
    """Whether two instructions may issue together, operands apart."""
    if younger.kind in _OLDER_ONLY:
        return False
    kinds = (older.kind, younger.kind)
    if sum(kind in (MULTIPLY, STORE) for kind in kinds) > 1:
        return False
    if (older.branches and younger.branches) or (older.shifted and younger.shifted):
        return False
    if all(kind in _LOADS for kind in kinds):
        if older.address[:1] != younger.address[:1]:
            return True
        if older.bank is None or younger.bank is None:
            return False
        return bool((older.bank ^ younger.bank) & 4)
    return True


def price(block: Block, insts: Sequence[Inst], pipeline: Pipeline) -> int:
    """Cycles of one run of a block; of one round where it loops on itself."""
    line = timeline(pipeline)
    parts = [part for inst in insts for part in parts_of(inst)]
    before = 0
    for _ in range(3 if block.loops else 1):
        before = line.now
        for part in parts:
            line.issue(part)
        if block.target:
            line.close()
    return line.now - before


def is_load(inst: Inst) -> bool:
    return OPS[inst.op].kind in _LOADS
