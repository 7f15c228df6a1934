"""The rules of the loop IR, one small function each.

``verify_function`` and ``verify_module`` raise InternalError at the first broken rule: loop IR is
always made by utvm. Tests run them after every pass. Checked here: names are defined before they
are used and only once, dtypes and ranks agree, registers are allocated, inputs and constants are
not written. ``verify_bounds`` adds what indices can be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from utvm.ir.dtype import DType, dtype_of
from utvm.ir.intrinsics import INTRINSICS
from utvm.ir.loop import (
    ARITHMETIC,
    COMPARISONS,
    Alloc,
    Binary,
    Buffer,
    Call,
    Cast,
    Expr,
    For,
    Function,
    If,
    Imm,
    Invoke,
    KernelCall,
    Let,
    Load,
    Module,
    Select,
    Stmt,
    Store,
    Var,
    View,
)
from utvm.ir.print_loop import print_expr
from utvm.ir.verify_bounds import verify_bounds
from utvm.support.errors import InternalError

WRITABLE = ("register", "workspace", "output")


def verify_module(module: Module, *, after: str = "") -> None:
    """Raises InternalError if the module breaks a rule; ``after`` names the pass that made it."""
    where = f"after {after}: module {module.name}" if after else f"module {module.name}"

    def expect(condition: bool, what: str, found: object = "") -> None:
        _expect(condition, where, what, found)

    names = [function.name for function in module.functions]
    expect(len(set(names)) == len(names), "two functions bear one name", names)
    for alias, target in module.aliases.items():
        known = alias in module.tensors and target in module.tensors
        expect(known, "an alias names no tensor", alias)
        expect(_same_memory(module.tensors[alias], module.tensors[target]),
               "an alias is of another size or type than its tensor", alias)  # fmt: skip
    made = {module.root(name) for name in module.inputs}
    for call in module.calls:
        expect(call.function in names, "a call of an unknown function", call.function)
        _check_call(module, call, expect)
        for name in call.inputs:
            expect(module.root(name) in made, "a tensor is read before it is written", name)
        for name in call.outputs:
            expect(module.root(name) not in made, "a tensor is written twice", name)
            made.add(module.root(name))
    for name in module.outputs:
        expect(module.root(name) in made, "nothing writes this output", name)
    micros = {micro.name: micro for micro in module.micros}
    expect(len(micros) == len(module.micros), "two micro functions bear one name", list(micros))
    for micro in module.micros:
        flat = all(len(buffer.shape) == 1 for buffer in (*micro.inputs, *micro.outputs))
        private = not (micro.constants or micro.workspace)
        expect(flat and private, "a micro function has more than flat pointers", micro.name)
        verify_function(micro, after=after)
    for function in module.functions:
        _check_constants(module, function, expect)
        verify_function(function, after=after, micros=micros)


def _check_call(
    module: Module, call: KernelCall, expect: Callable[[bool, str, object], None]
) -> None:
    """Arguments are tensors of the types that the function declares."""
    function = module.function(call.function)
    for names, buffers in ((call.inputs, function.inputs), (call.outputs, function.outputs)):
        expect(len(names) == len(buffers), "wrong number of arguments", call.function)
        for name, buffer in zip(names, buffers, strict=True):
            expect(name in module.tensors, "an argument is no tensor", name)
            fits = _same_memory(module.tensors[name], buffer)
            expect(fits, "an argument is of another size or type", f"{call.function}, {name}")


def _check_constants(
    module: Module, function: Function, expect: Callable[[bool, str, object], None]
) -> None:
    for buffer in function.constants:
        expect(buffer.name in module.constants, "a constant has no data", buffer.name)
        data = module.constants[buffer.name]
        fits = (dtype_of(data), int(data.size)) == (buffer.dtype, buffer.elements)
        expect(fits, "a constant's data is of another size or type", buffer.name)


def _same_memory(a: Buffer, b: Buffer) -> bool:
    return (a.dtype, a.elements) == (b.dtype, b.elements)


def verify_function(
    function: Function, *, after: str = "", micros: Mapping[str, Function] | None = None
) -> None:
    """Raises InternalError if the function breaks a rule; ``after`` names the pass that made it.

    ``micros`` are those that it may invoke; None: any, unchecked.
    """
    where = f"after {after}: {function.name}" if after else function.name
    scope = _Scope(where, micros)
    for var in function.scalars:
        scope.add_variable(var)
    for role, buffers in (
        ("input", function.inputs),
        ("output", function.outputs),
        ("const", function.constants),
        ("workspace", function.workspace),
    ):
        for buffer in buffers:
            scope.expect(
                buffer.scope == role, f"a buffer of scope {buffer.scope} is {role}", buffer
            )
            scope.add_buffer(buffer)
    for i in function.in_place:
        scope.expect(i < len(function.inputs), "in_place names no input", i)
    scope.body(function.body)
    verify_bounds(function, where, micros or {})


@dataclass
class _Scope:
    """What is visible at one place of a function."""

    where: str
    micros: Mapping[str, Function] | None = None
    buffers: Mapping[str, Buffer] = field(default_factory=dict)
    variables: Mapping[str, DType] = field(default_factory=dict)

    def expect(self, condition: bool, what: str, found: object = "") -> None:
        _expect(condition, self.where, what, found)

    def add_buffer(self, buffer: Buffer) -> None:
        self.expect(buffer.name not in self.buffers, "two buffers bear one name", buffer.name)
        positive = all(extent >= 1 for extent in buffer.shape)
        self.expect(positive, "a buffer has no elements", buffer)
        self.buffers = {**self.buffers, buffer.name: buffer}

    def add_variable(self, var: Var) -> None:
        self.expect(var.name not in self.variables, "a name is defined twice", var.name)
        self.variables = {**self.variables, var.name: var.dtype}

    def body(self, body: tuple[Stmt, ...]) -> None:
        """Checks statements in order; what they define is visible to those behind them."""
        inner = replace(self)
        for stmt in body:
            inner.stmt(stmt)

    def stmt(self, stmt: Stmt) -> None:
        match stmt:
            case For():
                self._for(stmt)
            case If(condition, then, orelse):
                self._typed(condition, DType.BOOL, "a condition")
                self.body(then)
                self.body(orelse)
            case Store(buffer, indices, value, lanes):
                written = buffer.scope in WRITABLE
                self.expect(written, "a store to what is only read", buffer.name)
                self._element(buffer, indices)
                self._lanes(buffer, lanes)
                stored = buffer.dtype if lanes == 1 else DType.INT32
                self._typed(value, stored, f"the value stored to {buffer.name}")
            case Invoke():
                self._invoke(stmt)
            case Let(var, value):
                self._typed(value, var.dtype, f"the value of {var.name}")
                self.add_variable(var)
            case Alloc(buffer):
                self.expect(buffer.scope == "register", "only registers are allocated", buffer)
                self.add_buffer(buffer)
            case View(pointer, base, offset):
                self._element(base, (offset,))
                same = (pointer.dtype, pointer.scope) == (base.dtype, base.scope)
                self.expect(same, "a view is of another type than its base", pointer.name)
                self.add_buffer(pointer)

    def _lanes(self, buffer: Buffer, lanes: int) -> None:
        word = lanes * buffer.dtype.bits == 32 and buffer.dtype.is_integer
        self.expect(lanes == 1 or word, "the lanes make no word of 32 bits", buffer.name)

    def _invoke(self, stmt: Invoke) -> None:
        """Arguments are of the types that the micro function declares; outputs may be written."""
        for pointer in stmt.pointers:
            self._element(pointer.buffer.view(pointer.buffer.elements), (pointer.offset,))
        for scalar in stmt.scalars:
            self._typed(scalar, DType.INT32, f"an argument of {stmt.function}")
        if self.micros is None:
            return
        self.expect(stmt.function in self.micros, "no such micro function", stmt.function)
        micro = self.micros[stmt.function]
        wanted = (*micro.inputs, *micro.outputs)
        counts = len(stmt.pointers), len(stmt.scalars)
        same = counts == (len(wanted), len(micro.scalars))
        self.expect(same, "wrong number of arguments", stmt.function)
        for pointer, buffer in zip(stmt.pointers, wanted, strict=True):
            fits = pointer.buffer.dtype is buffer.dtype
            self.expect(fits, "an argument is of another type", f"{stmt.function}, {buffer.name}")
            writable = buffer.scope != "output" or pointer.buffer.scope in WRITABLE
            self.expect(writable, "a micro function writes what is only read", stmt.function)

    def _for(self, stmt: For) -> None:
        self._typed(stmt.start, DType.INT32, f"the start of {stmt.var.name}")
        self._typed(stmt.stop, DType.INT32, f"the end of {stmt.var.name}")
        self.expect(stmt.var.dtype is DType.INT32, "a loop variable is not int32", stmt.var.name)
        self.expect(stmt.step >= 1, "a loop does not advance", stmt.var.name)
        inner = replace(self)
        inner.add_variable(stmt.var)
        inner.body(stmt.body)

    def _element(self, buffer: Buffer, indices: tuple[Expr, ...]) -> None:
        """The buffer is declared, perhaps in another shape, and the indices fit its shape."""
        self.expect(buffer.name in self.buffers, "a buffer is not declared here", buffer.name)
        known = self.buffers[buffer.name]
        same = (known.dtype, known.scope, known.elements) == (
            buffer.dtype,
            buffer.scope,
            buffer.elements,
        )
        self.expect(same, "a view is of another type or size than its buffer", buffer.name)
        rank = len(buffer.shape)
        self.expect(len(indices) == rank, "wrong number of indices", f"{buffer.name}, rank {rank}")
        for index in indices:
            self._typed(index, DType.INT32, f"an index into {buffer.name}")

    def _typed(self, expr: Expr, dtype: DType, what: str) -> None:
        self._expr(expr)
        if expr.dtype is not dtype:
            found = f"{expr.dtype.value} in {print_expr(expr)[:80]}"
            self.expect(False, f"{what} is not {dtype.value}", found)

    def _expr(self, expr: Expr) -> None:
        match expr:
            case Imm(value, dtype):
                whole = isinstance(value, int) and dtype.minimum <= value <= dtype.maximum
                self.expect(dtype.is_float or whole, "a literal is out of range", expr)
            case Var(name):
                known = self.variables.get(name)
                self.expect(known is expr.dtype, "a variable is not defined here", name)
            case Load(buffer, indices, lanes):
                self._element(buffer, indices)
                self._lanes(buffer, lanes)
            case Cast(_, value):
                self._expr(value)
            case Select(condition, a, b):
                self._typed(condition, DType.BOOL, "a condition")
                self._expr(a)
                self._typed(b, a.dtype, "the second value of a select")
            case Call(name, args):
                self.expect(name in INTRINSICS, "no such intrinsic", name)
                wanted = INTRINSICS[name].args
                self.expect(len(args) == len(wanted), "wrong number of arguments", name)
                for arg, dtype in zip(args, wanted, strict=True):
                    self._typed(arg, dtype, f"an argument of {name}")
                self.expect(expr.dtype is INTRINSICS[name].result, "not its result type", name)
            case Binary():
                self._binary(expr)
            case _:
                self.expect(False, "no such expression", expr)

    def _binary(self, expr: Binary) -> None:
        self.expect(expr.op in ARITHMETIC + COMPARISONS, "no such operator", expr.op)
        self._expr(expr.a)
        self._typed(expr.b, expr.a.dtype, f"the right side of {expr.op}")
        if expr.op in ("and", "or"):
            self._typed(expr.a, DType.BOOL, f"the left side of {expr.op}")
        if isinstance(expr.b, Imm) and expr.op in ("/", "%"):
            self.expect(expr.b.value != 0, "a division by zero", print_expr(expr)[:80])
        if isinstance(expr.b, Imm) and expr.op in ("<<", ">>"):
            bits = expr.a.dtype.bits
            self.expect(0 <= expr.b.value < bits, "a shift by too many bits", print_expr(expr)[:80])


def _expect(condition: bool, where: str, what: str, found: object) -> None:
    if not condition:
        raise InternalError(f"{where}: {what}" + (f"; found {found}" if found != "" else ""))
