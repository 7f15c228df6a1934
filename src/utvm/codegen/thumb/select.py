"""Loop IR to instructions over virtual registers: statements and loops.

In: a micro function. Out: a ``Program`` of basic blocks. Loops run at the end of their body: by
comparing a walking pointer with where it ends, by comparing the variable where its value is needed
anyway, or by a counter. A loop of a number of rounds known only at run time is guarded.
"""

from __future__ import annotations

from utvm.codegen.thumb.accesses import Nest, Put, prepare
from utvm.codegen.thumb.addresses import Addresses
from utvm.codegen.thumb.bounds import bounds
from utvm.codegen.thumb.builder import Builder, constant_inst
from utvm.codegen.thumb.isa import is_modified_immediate
from utvm.codegen.thumb.machine import FLAGS, SP, Inst, Memory, NotSelectableError, Program
from utvm.codegen.thumb.values import Values, inverse
from utvm.ir.loop import (
    Alloc,
    Cast,
    Comment,
    Expr,
    For,
    Function,
    If,
    Let,
    Load,
    Stmt,
    Store,
    Var,
)
from utvm.ir.rewrite import free_vars
from utvm.target.target import Target

UNKNOWN_ROUNDS = 8  # what a loop of unknown length counts in weights
PARAMETER_REGISTERS = 4


def select(function: Function, target: Target, jumps: bool = False) -> Program:
    """The program of a micro function; ``jumps`` as in ``plan_walkers``."""
    return _Selector(prepare(function), target, jumps).run()


class _Selector:
    def __init__(self, nest: Nest, target: Target, jumps: bool) -> None:
        self.nest = nest
        self.builder = Builder(target)
        assert self.builder.isa.registers
        self.addresses = Addresses(nest, self.builder, self._named, jumps)
        self.values = Values(self.builder, self._variable, self.addresses.load)
        self.variables: dict[str, int] = {}
        self.needed = self._needed()
        self.labels = 0

    def run(self) -> Program:
        function = self.nest.function
        builder = self.builder
        buffers = (*function.inputs, *function.outputs, *function.constants)
        parameters = {name: builder.new(name) for name in (b.name for b in buffers)}
        scalars = {var.name: builder.new(var.name) for var in function.scalars}
        registers = [*parameters.values(), *scalars.values()]
        fixed = dict(zip(registers[:PARAMETER_REGISTERS], range(PARAMETER_REGISTERS), strict=False))
        builder.add(Inst("params", tuple(fixed)))
        for number, register in enumerate(registers[PARAMETER_REGISTERS:]):
            memory = Memory(4 * number, buffer="@argument", place=4 * number, area="argument")
            builder.load("ldr", (SP,), memory, register)
        self.variables.update(scalars)
        self.addresses.enter(parameters)
        self._body(self.nest.body, 1)
        sizes = {buffer.dtype.size_bytes for buffer in function.outputs}
        shared = frozenset(b.name for b in function.inputs if b.dtype.size_bytes in sizes)
        return Program(builder.blocks(), fixed, builder.names, shared)

    def _needed(self) -> set[str]:
        """The variables whose values are needed in registers, not only in addresses."""
        lets: dict[str, set[str]] = {}
        pending = list(_read(self.nest.body, lets) | self.addresses.free_names())
        needed: set[str] = set()
        while pending:
            name = pending.pop()
            if name not in needed:
                needed.add(name)
                pending += lets.get(name, set())
                if name in self.nest.opaque:
                    pending += free_vars(self.nest.opaque[name])
        return needed

    def _named(self, name: str) -> int:
        """The register of a name in a polynomial."""
        if name in self.nest.opaque:
            return self.values.value(self.nest.opaque[name])
        return self.variables[name]

    def _variable(self, var: Var) -> int:
        return self.variables[var.name]

    def _label(self) -> str:
        self.labels += 1
        return str(self.labels)

    def _body(self, body: tuple[Stmt, ...], weight: int) -> None:
        for stmt in body:
            self._stmt(stmt, weight)

    def _stmt(self, stmt: Stmt, weight: int) -> None:
        match stmt:
            case Comment() | Alloc():
                pass
            case Let(var, value):
                if var.name in self.needed:
                    self.variables[var.name] = self._let(var, value)
            case Store(buffer, indices, value):
                self.values.value(value, self.values.element(Load(buffer, indices)))
            case Put(number, value):
                self.addresses.store(number, self._stored(number, value))
            case If():
                self._if(stmt, weight)
            case For():
                self._loop(stmt, weight)
            case _:
                raise NotSelectableError(f"the statement {type(stmt).__name__}")

    def _let(self, var: Var, value: Expr) -> int:
        """A register of the name's own, since what it copies may change."""
        if var.type.is_integer:
            self.values.ranges[var.name] = bounds(value, self.values.ranges)
        register = self.builder.new(var.name)
        return self.values.value(value, register)

    def _stored(self, number: int, value: Expr) -> int:
        """A store keeps the low bits, so a narrowing cast need not be made."""
        bits = 8 * self.nest.accesses[number].size
        while isinstance(value, Cast) and value.type.bits >= bits and value.type.is_integer:
            if value.value.dtype.is_float or value.value.dtype.bits < bits:
                break
            value = value.value
        return self.values.value(value)

    def _if(self, stmt: If, weight: int) -> None:
        cond = self.values.compare(stmt.condition)
        orelse, end = self._label(), self._label()
        self._branch(inverse(cond), orelse if stmt.orelse else end)
        forms = self.addresses.forms()
        self._begin(self._label(), weight)
        self._body(stmt.then, weight)
        self.addresses.restore(forms)
        if stmt.orelse:
            self.builder.add(Inst("b", target=end))
            self._begin(orelse, weight)
            self._body(stmt.orelse, weight)
            self.addresses.restore(forms)
        self._begin(end, weight)

    def _branch(self, cond: str, label: str) -> None:
        self.builder.add(Inst("b", (), (FLAGS,), cond=cond, target=label))

    def _begin(self, label: str, weight: int, comment: str = "") -> None:
        self.builder.begin(label, weight, comment)
        self.addresses.computed = {}

    def _loop(self, stmt: For, weight: int) -> None:
        var = stmt.var.name
        rounds = self.nest.rounds(var)
        innermost = not any(isinstance(s, For | If) for s in stmt.body)
        self.addresses.approach(stmt, innermost)
        counter = self._counter(stmt, rounds)
        after = self._label()
        outside, at = self.builder.block, len(self.builder.block.insts)
        if rounds is None and not self._surely_runs(stmt):
            self._guard(stmt, after)
            at = len(outside.insts) - 2
        label = self._label()
        inner = weight * (UNKNOWN_ROUNDS if rounds is None else rounds)
        self._begin(label, inner, f"for {var.partition('.')[0]}")
        before = self.builder.preheader
        self.builder.preheader = (outside, at) if innermost else None
        entry = self.addresses.top(stmt)
        self._body(stmt.body, inner)
        self.addresses.bottom(stmt, entry)
        self._repeat(stmt, counter, label)
        self.builder.preheader = before
        self._begin(after, weight)
        self.addresses.leave(stmt, entry)

    def _counter(self, stmt: For, rounds: int | None) -> tuple[str, int, int]:
        """What ends a loop: its kind, and the registers that are compared before the jump."""
        var, build = stmt.var.name, self.builder
        variable = var in self.needed
        if variable:
            self.variables[var] = self.values.value(stmt.start, build.new(var))
        pacer = self.addresses.pacer(stmt)
        if rounds is None and stmt.step != 1:
            pacer = None
        if pacer is not None and not (variable and rounds is not None and rounds < 256):
            pointer, slope = pacer
            register = pointer.register
            if rounds is None:
                end = self._far_end(stmt, register, slope)
            else:
                end = self.addresses.end(pointer, rounds * stmt.step * slope)
            build.names[end] = f"{build.names.get(register, '')} end"
            return "pointer", register, end
        if variable or rounds is None:
            if not variable:
                self.variables[var] = self.values.value(stmt.start, build.new(var))
            return "variable", self.variables[var], -1
        counter = build.new(var)
        build.add(constant_inst(counter, rounds))
        return "counter", counter, -1

    def _far_end(self, stmt: For, register: int, slope: int) -> int:
        """Where a pointer stands behind a loop whose rounds are known at run time only."""
        extent = self.nest.stops[stmt.var.name] - self.nest.starts[stmt.var.name]
        way = self.addresses.evaluate(extent.variable)
        assert way is not None
        build = self.builder
        if extent.constant:
            way = build.emit("add", None, way, build.constant(extent.constant))
        if slope > 0 and slope & (slope - 1) == 0:
            shift = ("lsl", slope.bit_length() - 1) if slope > 1 else None
            return build.emit("add", None, register, way, shift=shift)
        return build.emit("mla", None, way, build.constant(slope), register)

    def _surely_runs(self, stmt: For) -> bool:
        """Whether a loop whose rounds are known at run time only has one at least: scalars that
        count rounds are not negative."""
        extent = self.nest.stops[stmt.var.name] - self.nest.starts[stmt.var.name]
        scalars = {var.name for var in self.nest.function.scalars}
        counts = all(c > 0 for names, c in extent.terms if names)
        return extent.constant > 0 and counts and extent.names <= scalars

    def _guard(self, stmt: For, after: str) -> None:
        """Jumps behind a loop that does not run."""
        start, stop = self.values.value(stmt.start), self.values.value(stmt.stop)
        self.builder.add(Inst("cmp", (FLAGS,), (start, stop)))
        self._branch("ge", after)

    def _repeat(self, stmt: For, counter: tuple[str, int, int], label: str) -> None:
        build = self.builder
        kind, register, end = counter
        variable = self.variables.get(stmt.var.name)
        if variable is not None:
            build.emit("addi", variable, variable, imm=stmt.step)
        if kind == "pointer":
            build.add(Inst("cmp", (FLAGS,), (register, end)))
            self._branch("ne", label)
        elif kind == "counter":
            build.add(Inst("subsi", (register, FLAGS), (register,), imm=1))
            self._branch("ne", label)
        else:
            stop = self.nest.stops[stmt.var.name]
            if stop.is_constant and is_modified_immediate(stop.constant):
                word = stop.constant & 0xFFFFFFFF
                build.add(Inst("cmpi", (FLAGS,), (register,), imm=word))
            else:
                build.add(Inst("cmp", (FLAGS,), (register, self.values.value(stmt.stop))))
            self._branch("lt", label)


def _read(body: tuple[Stmt, ...], lets: dict[str, set[str]]) -> set[str]:
    """The variables whose values statements need; ``lets`` gets those that Lets are made of."""
    names: set[str] = set()
    for stmt in body:
        match stmt:
            case Let(var, value):
                lets[var.name] = free_vars(value)
            case Store(value=value) | Put(value=value):
                names |= free_vars(value)
            case For(start=start, stop=stop, body=inner):
                names |= free_vars(start) | free_vars(stop) | _read(inner, lets)
            case If(condition, then, orelse):
                names |= free_vars(condition) | _read(then, lets) | _read(orelse, lets)
    return names
