"""Counts what a kernel in C does, as a C compiler would arrange it.

In: a function of the loop IR as it is printed. Out: how often each operation of ``Costs`` runs in
one call, and which micro functions are invoked with which integers. What a loop does not change is
counted before the loop; equal values of a straight line are counted once; small loops are unrolled;
copies and fillings become calls of the C library. Rounds and conditions that depend on loop
variables are walked through.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from utvm.codegen.forecast_frame import Frame
from utvm.codegen.forecast_rounds import (
    UNKNOWN,
    Values,
    governing,
    holds,
    mispredicted,
    rounds_of,
    value_of,
)
from utvm.codegen.forecast_values import (
    ANY_MEMORY,
    Address,
    Fact,
    Facts,
    address_of,
    memory_name,
)
from utvm.ir.loop import (
    Alloc,
    Cast,
    Expr,
    For,
    Function,
    If,
    Imm,
    Invoke,
    Let,
    Load,
    Stmt,
    Store,
    Var,
    View,
)
from utvm.ir.rewrite import linear, statements
from utvm.target.costs import Costs

Call = tuple[str, tuple[int | None, ...]]
MISPREDICTED = "mispredicted"
_WALKED = 512
"""Rounds of nested loops that are walked one by one; of more, as many in even steps."""


@dataclass
class Work:
    """How often each operation runs, and each micro function by its integers."""

    operations: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls: dict[Call, float] = field(default_factory=lambda: defaultdict(float))


def count_work(
    function: Function, costs: Costs, in_place: bool, values: Values = MappingProxyType({})
) -> Work:
    """The work of one call, where ``values`` are the function's integers."""
    counter = _Counter(costs, restrict=not in_place)
    counter.frames.append(Frame(1.0, set()))
    counter.add("call", 1)
    counter.body(function.body, values, _WALKED)
    return counter.work


class _Counter:
    def __init__(self, costs: Costs, restrict: bool) -> None:
        self.costs, self.restrict = costs, restrict
        self.work = Work()
        self.frames: list[Frame] = []
        self.facts = Facts()
        self.residues: dict[str, int | None] = {}

    @property
    def frame(self) -> Frame:
        return self.frames[-1]

    def add(self, operation: str, count: float, level: int = -1) -> None:
        frame = self.frames[level]
        self.work.operations[operation] += count * frame.runs
        frame.counted += count

    def body(self, body: Sequence[Stmt], values: Values, budget: int) -> None:
        known = dict(values)
        for stmt in body:
            self._stmt(stmt, known, budget)

    def _stmt(self, stmt: Stmt, values: dict[str, int], budget: int) -> None:
        match stmt:
            case Let(var, value):
                self.frame.names.add(var.name)
                known = value_of(value, values) if var.dtype.is_integer else None
                if known is not None:
                    values[var.name] = known
                self.value(value)
            case Alloc(buffer):
                self.frame.names.add(buffer.name)
                self.frame.chains.append(buffer.name)
            case View():
                self._view(stmt)
            case Store():
                self._store(stmt)
            case Invoke():
                self._invoke(stmt, values)
            case If():
                self._if(stmt, values, budget)
            case For():
                self._for(stmt, values, budget)

    # Values

    def value(self, expr: Expr) -> None:
        """Counts what makes a value, where it is made first."""
        fact = self.facts.of(expr)
        level = self._level(fact.names)
        if not fact.plain and fact.number not in self.frames[level].seen:
            self.frames[level].seen.add(fact.number)
            for operand in fact.operands:
                self.value(operand)
            if fact.address is not None:
                self._address(fact.address, level)
            for name, count in fact.operations:
                self.add(name, count, level)
        self._hold(fact, level)

    def _hold(self, fact: Fact, level: int) -> None:
        """Notes what a body keeps in a register because it does not make it itself."""
        match fact.expr:
            case Imm(value=value, type=dtype):
                if not 0 <= value < 256 and not dtype.is_float:
                    self.frame.held.add(fact.number)
            case Load(buffer) if buffer.scope == "register":
                self.frame.held.add(buffer.name)
            case Var(name) if level == len(self.frames) - 1:
                self.frame.use(name)
            case _ if level == len(self.frames) - 1:
                self.frame.use(fact.number)
            case _:
                self.frame.held.add(fact.number)

    def _level(self, names: frozenset[str]) -> int:
        """The innermost loop that changes anything a value depends on."""
        for level in range(len(self.frames) - 1, 0, -1):
            if not names.isdisjoint(self.frames[level].names):
                return level
        return 0

    def _address(self, address: Address, level: int) -> None:
        if address.form is None:
            for index in address.indices:
                self.value(index)
            self.add("indexed", 1, level)
            return
        near = self.costs.near_bytes
        if not -near < 16 * address.constant_bytes < 16 * near:
            self.add("far", 1, level)
        frame = self.frames[level]
        if frame.var and address.form.coefficient(frame.var):
            frame.moved.add(address.key)
        elif address.form.terms and address.key not in frame.seen:
            frame.seen.add(address.key)
            self.add("alu", 1, level)
        self.frame.held.add(address.key)

    # Statements

    def _view(self, stmt: View) -> None:
        address = self.facts.place(stmt)
        base = self.residues.get(stmt.base.name, 0)
        self.residues[stmt.pointer.name] = _sum(address.residue, base)
        if address.form is None:
            self.value(stmt.offset)
        level = self._level(self.facts.of(stmt.offset).names | {stmt.base.name})
        for frame in self.frames[: level + 1]:
            frame.names.discard(stmt.pointer.name)
        self.frames[level].names.add(stmt.pointer.name)
        terms = 1 if address.form is None else len(address.form.terms)
        self.add("alu", min(terms, 2), level)

    def _store(self, stmt: Store) -> None:
        frame = self.frame
        frame.chain = len(frame.chains)
        if stmt.buffer.name in frame.chains:
            frame.chain = frame.chains.index(stmt.buffer.name)
        self.value(_stored(stmt))
        frame.chain = len(frame.chains)
        if stmt.buffer.scope == "register":
            self._forget(stmt.buffer.name)
            return
        self._address(self.facts.place(stmt), len(self.frames) - 1)
        self.add("store", 1)
        self._forget(memory_name(stmt.buffer.name) if self.restrict else ANY_MEMORY)

    def _forget(self, name: str) -> None:
        """What depends on a register or memory that has been written is another value now."""
        using = self.facts.using.get(name, set())
        for frame in self.frames:
            frame.seen -= using

    def _invoke(self, stmt: Invoke, values: Values) -> None:
        for pointer in stmt.pointers:
            self.add("alu", 1)
            if linear(pointer.offset) is None:
                self.value(pointer.offset)
        for scalar in stmt.scalars:
            self.value(scalar)
        self.add("alu", len(stmt.scalars))
        self.add("call", 1)
        call = (stmt.function, tuple(value_of(scalar, values) for scalar in stmt.scalars))
        self.work.calls[call] += self.frame.runs

    def _if(self, stmt: If, values: Values, budget: int) -> None:
        self.value(stmt.condition)
        self.add("branch", 1)
        known = holds(stmt.condition, values)
        share = UNKNOWN if known is None else float(known)
        runs, seen = self.frame.runs, set(self.frame.seen)
        for part, body in ((share, stmt.then), (1 - share, stmt.orelse)):
            if part and body:
                self.frame.runs = runs * part
                self.body(body, values, budget)
                self.frame.seen = set(seen)
        self.frame.runs = runs

    # Loops

    def _for(self, stmt: For, values: Values, budget: int) -> None:
        rounds = rounds_of(stmt, values)
        if not rounds:
            self.add("branch", 1)
            return
        if self._is_copy(stmt):
            self._copy(stmt, len(rounds))
            return
        self.value(stmt.stop)
        chosen: Sequence[int] = rounds[:1]
        if stmt.var.name in governing(stmt.body):
            chosen = rounds[:: max(1, -(-len(rounds) // budget))]
        names = {stmt.var.name} | _changed(stmt.body, self.restrict)
        frame = Frame(self.frame.runs * len(rounds), names, stmt.var.name)
        self.frames.append(frame)
        if len(chosen) == 1:
            self.body(stmt.body, values, budget)
        else:
            self._walk(stmt, chosen, values, max(1, budget // len(chosen)))
        self.frames.pop()
        self._overhead(stmt, frame, len(rounds))

    def _walk(self, stmt: For, chosen: Sequence[int], values: Values, budget: int) -> None:
        """Round by round, but what is the same in all of them only once."""
        frame, name = self.frame, stmt.var.name
        runs, names = frame.runs, {name}
        varying: list[bool] = []
        for inner in stmt.body:
            if isinstance(inner, Let) and names & self.facts.of(inner.value).names:
                names.add(inner.var.name)
            varying.append(isinstance(inner, Let) or bool(names & governing((inner,))))
        for number, value in enumerate(chosen):
            known = {**values, name: value}
            frame.seen = set()
            for inner, varies in zip(stmt.body, varying, strict=True):
                if varies or number == 0:
                    frame.runs = runs / len(chosen) if varies else runs
                    self._stmt(inner, known, budget)
        frame.runs = runs

    def _overhead(self, stmt: For, frame: Frame, rounds: int) -> None:
        """Counters, pointers, jumps; values for which there is no register."""
        innermost = not any(isinstance(s, For | If | Invoke) for s in stmt.body)
        unrolled = self._unrolled(frame, rounds) if innermost else 1
        if innermost:
            carried = {
                s.buffer.name
                for s in statements(stmt.body)
                if isinstance(s, Store) and s.buffer.scope == "register"
            }
            spilled = frame.spilled(self.costs.registers, len(carried - frame.held))
            self.add("spill", spilled * rounds)
        if unrolled >= rounds:
            return
        for name, count in (("advance", len(frame.moved)), ("round", 1)):
            self.add(name, count * rounds / unrolled)
        self.add("loop", 1)
        self.add(MISPREDICTED, mispredicted(rounds // unrolled))

    def _unrolled(self, frame: Frame, rounds: int) -> int:
        """How many rounds the compiler writes behind each other."""
        size = max(frame.counted, 1.0)
        if rounds * size <= self.costs.unroll:
            return rounds
        most = max(1, int(self.costs.unroll / size))
        divisors = [n for n in range(most, 0, -1) if rounds % n == 0]
        return max(divisors[0], min(4, most))

    def _is_copy(self, stmt: For) -> bool:
        """A loop that copies or fills bytes in order, which compilers know."""
        if len(stmt.body) != 1 or stmt.step != 1 or not isinstance(stmt.body[0], Store):
            return False
        store = stmt.body[0]
        if store.lanes > 1 or store.buffer.scope == "register" or not self.restrict:
            return False
        if not _moves_by_one(store.indices, stmt.var.name):
            return False
        match store.value:
            case Imm(value=value):
                return store.buffer.dtype.bits == 8 or value == 0
            case Load(indices=indices, lanes=1):
                return _moves_by_one(indices, stmt.var.name)
        return False

    def _alike(self, stmt: Store, source: Load) -> bool:
        """Whether source and destination are equally far from a multiple of four bytes."""
        to, by = self.facts.place(stmt), address_of(source.buffer, source.indices)
        ends = [_sum(a.residue, self.residues.get(a.buffer.name, 0)) for a in (to, by)]
        return ends[0] is not None and ends[0] == ends[1]

    def _copy(self, stmt: For, rounds: int) -> None:
        store = stmt.body[0]
        assert isinstance(store, Store)
        words = rounds * store.buffer.dtype.size_bytes / 4
        source = store.value if isinstance(store.value, Load) else None
        if words <= 4:
            self.add("load", words if source else 0)
            self.add("store", words)
            return
        kind = "set_word"
        if source is not None:
            kind = "copied_word" if self._alike(store, source) else "shifted_word"
        self.add(kind, words)
        self.add("copy", 1)


def _stored(stmt: Store) -> Expr:
    """The value without the narrowing that a store does by itself."""
    value = stmt.value
    while isinstance(value, Cast) and value.type.is_integer and value.value.dtype.is_integer:
        if value.type.bits < stmt.buffer.dtype.bits:
            break
        value = value.value
    return value


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else (a + b) % 4


def _moves_by_one(indices: tuple[Expr, ...], name: str) -> bool:
    if not indices:
        return False
    last = linear(indices[-1])
    return last is not None and last.coefficient(name) == 1


def _changed(body: tuple[Stmt, ...], restrict: bool) -> set[str]:
    """The names whose values a body changes: registers, and memories as ``names_in`` marks them."""
    names: set[str] = set()
    for stmt in statements(body):
        match stmt:
            case Store(buffer) if buffer.scope == "register":
                names.add(buffer.name)
            case Store(buffer):
                names |= {memory_name(buffer.name), *(() if restrict else (ANY_MEMORY,))}
            case Let(var):
                names.add(var.name)
            case For(var=var):
                names.add(var.name)
    return names
