"""What an order of instructions costs on a pipeline, instruction by instruction.

``Timeline`` walks instructions over virtual registers through a single- or dual-issue pipeline as
the target describes it. The scheduler asks it when an instruction could issue, and what a finished
order costs; a block that loops on itself is priced in its steady state. These are the rules of
Arm's Cortex-M4 manual and of the Cortex-M7 pairing model in docs/design/emulator.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from utvm.codegen.thumb.isa import OPS, kind_of, roles_of
from utvm.codegen.thumb.machine import Block, Inst
from utvm.codegen.thumb.ops import (
    ALU,
    BRANCH,
    EXTEND,
    LOAD,
    MULTIPLY,
    NARROW,
    NOTHING,
    SATURATE,
    SIMPLE,
    STORE,
)
from utvm.target.pipeline import Pipeline

_LOADS = (LOAD, NARROW)
_MEMORY = (*_LOADS, STORE)
_OLDER_ONLY = (EXTEND, SATURATE)
OTHER = "other"
_NEVER = -9  # a cycle before all others


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

    @cached_property
    def accesses(self) -> bool:
        """Whether it loads or stores."""
        return self.kind in _MEMORY

    @cached_property
    def needs(self) -> tuple[tuple[int, int], ...]:
        """For a dual-issue core: by operand its time (``_early`` or ``_late`` of the register) and
        how many cycles behind that the instruction may issue."""
        plain = _late if self.kind == MULTIPLY else _early
        return (
            *((_early(r), 1) for r in self.address),
            *((_late(r), 1) for r in self.shifted),
            *((plain(r), 0) for r in self.sources),
            *((_early(r), -1) for r in self.accumulator),
            *((_early(r), -2) for r in self.data),
        )

    @cached_property
    def shape(self) -> tuple[object, ...]:
        """All that decides which parts may issue beside it."""
        base = self.address[:1] if self.kind in _LOADS else ()
        bank = self.bank & 4 if base and self.bank is not None else None
        return self.kind, bool(self.shifted), self.branches, base, bank


def _early(register: int) -> int:
    """When a late ALU may use a register, as a key."""
    return 2 * register


def _late(register: int) -> int:
    """When a multiplier or a shifter may, as a key."""
    return 2 * register + 1


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
        bank=memory.place if memory is not None and memory.scale is None else None,
        branches=kind == BRANCH,
        scaled=memory is not None and memory.scale is not None,
    )
    nothing = Part(OTHER, (), None, (), (), (), (), ())
    if inst.op in ("movc", "movci"):
        return nothing, part
    if OPS[inst.op].more:
        return (nothing,) * OPS[inst.op].more + (part,)
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
    """One instruction a cycle; loads overlap with the access behind them. ``loaded`` and
    ``computed`` is what the instruction before has written."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(pipeline)
        self.loaded: tuple[int, ...] = ()
        self.computed: tuple[int, ...] = ()

    def wait(self, part: Part) -> int:
        return 2 * self._cost(part) if part.accesses else 2

    def _cost(self, part: Part) -> int:
        """The cycles of an access."""
        late = any(register in self.computed for register in part.address)
        wait = self.pipeline.address_cycles if late else 0
        if part.kind == STORE and not part.scaled:
            return self.pipeline.store_cycles + wait
        overlaps = self.loaded and not any(register in self.loaded for register in part.address)
        cycles = self.pipeline.next_load_cycles if overlaps else self.pipeline.load_cycles
        return cycles + wait

    def issue(self, part: Part) -> None:
        if part.accesses:
            self.now += self._cost(part)
            self.loaded = part.defs if part.kind != STORE else ()
            self.computed = ()
            return
        self.now += 1
        self.loaded = ()
        self.computed = part.defs if part.kind not in (BRANCH, OTHER) else ()

    def close(self) -> None:
        self.now += self.pipeline.branch_cycles - 1
        self.loaded = self.computed = ()


class DualIssue(Timeline):
    """Two instructions a cycle, in order. ``times``: when registers may be used (``_early``,
    ``_late``); ``older``: what issued alone so far in the present cycle."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(pipeline)
        self.older: Part | None = None
        self.times: dict[int, int] = {}
        self.latencies = {
            LOAD: pipeline.load_latency,
            NARROW: pipeline.narrow_load_latency,
            MULTIPLY: pipeline.multiply_latency,
            SATURATE: pipeline.saturate_latency,
        }

    def wait(self, part: Part) -> int:
        return self.wait_from(self.earliest(part), part)

    def wait_from(self, earliest: int, part: Part) -> int:
        """``wait`` of a part whose operands are there in cycle ``earliest``."""
        if self.older is None:
            return 2 * max(earliest - self.now, 0) + 2
        if earliest <= self.now and pairs(self.older, part):
            return 1
        return 2 * max(earliest - self.now, 1) + 2

    def issue(self, part: Part) -> None:
        earliest = self.earliest(part)
        if self.older is not None:
            if earliest <= self.now and pairs(self.older, part):
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

    def earliest(self, part: Part) -> int:
        """The first cycle in which all operands are there in time."""
        times, earliest = self.times, 0
        for key, cycles in part.needs:
            there = times.get(key, _NEVER) + cycles
            if there > earliest:
                earliest = there
        return earliest

    def _retire(self, part: Part, older: bool) -> None:
        times = self.times
        done = self.now + self.latencies.get(part.kind, 1)
        late = done
        if part.kind == LOAD:
            late = self.now + self.pipeline.multiplicand_load_latency
        elif older and part.kind == SIMPLE and self._waits(part):
            done = late = self.now
        for register in part.defs:
            times[_early(register)], times[_late(register)] = done, late
        if part.moved is not None:
            times[_early(part.moved)] = times[_late(part.moved)] = self.now

    def _waits(self, part: Part) -> bool:
        """Whether all sources were there a cycle before."""
        return all(self.times.get(_early(r), _NEVER) < self.now for r in part.sources)


def pairs(older: Part, younger: Part) -> bool:
    """Whether two instructions may issue together, operands apart."""
    return _pair(older.shape, younger.shape)


@lru_cache(maxsize=1 << 14)
def _pair(older: tuple[object, ...], younger: tuple[object, ...]) -> bool:
    kind, shifts, branches, base, bank = older
    second, shifts_too, branches_too, other_base, other_bank = younger
    if second in _OLDER_ONLY:
        return False
    if kind in (MULTIPLY, STORE) and second in (MULTIPLY, STORE):
        return False
    if (branches and branches_too) or (shifts and shifts_too):
        return False
    if kind in _LOADS and second in _LOADS and base == other_base:
        return bank is not None and other_bank is not None and bank != other_bank
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
