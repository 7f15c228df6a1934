"""The loop IR: kernels as loops, loads, stores and scalar expressions, in frozen dataclasses.

A ``Function`` computes one fused group of operators. Buffers are multi-dimensional and row-major;
their ``scope`` says where they live. A body is a tuple of statements; a ``Let`` or ``Alloc`` is
visible in the rest of its body. uint32 is modulo 2^32; no other integer expression wraps: a
schedule may assume that no int32 overflows, except in the intrinsics that say so. Schedules
(``utvm.schedule``) are rewrites of this IR; ``utvm.codegen`` prints it as C. Everything is
immutable and compares by value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np

from utvm.ir.dtype import DType

INT32 = DType.INT32

SCOPES = ("input", "output", "const", "workspace", "register")
ARITHMETIC = ("+", "-", "*", "/", "%", "min", "max", "<<", ">>", "&", "|", "^")
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=", "and", "or")


@dataclass(frozen=True)
class Buffer:
    """Memory of a kernel. ``register`` buffers are C locals; all others are arrays.

    Several Buffer objects of one name and size are views of one memory in different shapes.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    scope: str

    @property
    def elements(self) -> int:
        return prod(self.shape)

    @property
    def size_bytes(self) -> int:
        return self.elements * self.dtype.size_bytes

    def view(self, *shape: int) -> Buffer:
        """The same memory in another shape of as many elements."""
        assert prod(shape) == self.elements, (self, shape)
        return Buffer(self.name, self.dtype, shape, self.scope)


@dataclass(frozen=True)
class Expr:
    """A scalar expression; every node has a ``dtype``. Operators build trees: ``a + 1``."""

    @property
    def dtype(self) -> DType:
        raise AssertionError("abstract")

    def __add__(self, other: Expr | int) -> Expr:
        return Binary("+", self, as_expr(other, self.dtype))

    def __radd__(self, other: int) -> Expr:
        return Binary("+", as_expr(other, self.dtype), self)

    def __sub__(self, other: Expr | int) -> Expr:
        return Binary("-", self, as_expr(other, self.dtype))

    def __mul__(self, other: Expr | int) -> Expr:
        return Binary("*", self, as_expr(other, self.dtype))

    def __rmul__(self, other: int) -> Expr:
        return Binary("*", as_expr(other, self.dtype), self)

    def __rshift__(self, other: Expr | int) -> Expr:
        return Binary(">>", self, as_expr(other, self.dtype))


@dataclass(frozen=True)
class Imm(Expr):
    """A literal. Its Python value is an int for integer types and bool, a float for float32."""

    value: int | float
    type: DType = INT32

    @property
    def dtype(self) -> DType:
        return self.type


@dataclass(frozen=True)
class Var(Expr):
    """A loop variable or the name of a Let."""

    name: str
    type: DType = INT32

    @property
    def dtype(self) -> DType:
        return self.type


@dataclass(frozen=True)
class Load(Expr):
    """One element of a buffer, or ``lanes`` neighbours of 32 bits together as one packed word.

    A word is an int32 whose lowest bits are the first element. It need not be aligned.
    """

    buffer: Buffer
    indices: tuple[Expr, ...] = ()
    lanes: int = 1

    @property
    def dtype(self) -> DType:
        return self.buffer.dtype if self.lanes == 1 else INT32


@dataclass(frozen=True)
class Binary(Expr):
    """``op`` applied to two operands of one dtype. ``/`` and ``%`` truncate as in C."""

    op: str
    a: Expr
    b: Expr

    @property
    def dtype(self) -> DType:
        return DType.BOOL if self.op in COMPARISONS else self.a.dtype


@dataclass(frozen=True)
class Cast(Expr):
    """Conversion as in C: integers wrap to the narrower type, floats truncate towards zero."""

    type: DType
    value: Expr

    @property
    def dtype(self) -> DType:
        return self.type


@dataclass(frozen=True)
class Select(Expr):
    """``a`` if the condition holds, else ``b``. Only the chosen side is evaluated."""

    condition: Expr
    a: Expr
    b: Expr

    @property
    def dtype(self) -> DType:
        return self.a.dtype


@dataclass(frozen=True)
class Call(Expr):
    """A scalar intrinsic by name; its meaning stands in ``utvm.ir.intrinsics``."""

    name: str
    args: tuple[Expr, ...]
    type: DType

    @property
    def dtype(self) -> DType:
        return self.type


@dataclass(frozen=True)
class Stmt:
    """Base of statements."""


@dataclass(frozen=True)
class For(Stmt):
    """``for var in range(start, stop, step)``.

    ``parallel`` promises that the iterations touch different memory, so that they may be reordered,
    jammed or run together; a reduction loop is not parallel. The verifier checks the promise where
    it can.
    """

    var: Var
    start: Expr
    stop: Expr
    body: tuple[Stmt, ...]
    step: int = 1
    parallel: bool = False


@dataclass(frozen=True)
class Store(Stmt):
    """``buffer[indices] = value``; the value has the buffer's dtype.

    With ``lanes``, the value is a packed word of as many elements, as in ``Load``.
    """

    buffer: Buffer
    indices: tuple[Expr, ...]
    value: Expr
    lanes: int = 1


@dataclass(frozen=True)
class Let(Stmt):
    """A name for a value in the rest of this body. Never assigned again."""

    var: Var
    value: Expr


@dataclass(frozen=True)
class Alloc(Stmt):
    """A register buffer that lives in the rest of this body."""

    buffer: Buffer


@dataclass(frozen=True)
class View(Stmt):
    """A pointer into a buffer at a flat element offset, for the rest of this body.

    Made by ``hoist_addresses`` after scheduling: ``pointer`` is a one-dimensional buffer whose
    element 0 is element ``offset`` of ``base``.
    """

    pointer: Buffer
    base: Buffer
    offset: Expr


@dataclass(frozen=True)
class If(Stmt):
    """Two-way choice."""

    condition: Expr
    then: tuple[Stmt, ...]
    orelse: tuple[Stmt, ...] = ()


@dataclass(frozen=True)
class Pointer:
    """Where a buffer's memory begins for a micro function: at a flat element offset."""

    buffer: Buffer
    offset: Expr


@dataclass(frozen=True)
class Invoke(Stmt):
    """Runs a micro function of the module. ``pointers`` are its inputs and outputs in this order,
    with as many elements behind them as declared there or more; ``scalars`` its integers.
    """

    function: str
    pointers: tuple[Pointer, ...]
    scalars: tuple[Expr, ...] = ()


@dataclass(frozen=True)
class Comment(Stmt):
    """A line for the reader of the generated C; no meaning."""

    text: str


@dataclass(frozen=True)
class Step:
    """A rewrite that a schedule asked for: the name of a primitive and its arguments."""

    name: str
    arguments: tuple[object, ...]

    def __str__(self) -> str:
        shown = [a.value if isinstance(a, DType) else json.dumps(a) for a in self.arguments]
        return f"{self.name}({', '.join(shown)})"


@dataclass(frozen=True)
class Function:
    """One kernel: reads ``inputs``, writes ``outputs``, may use ``workspace`` and ``constants``.

    ``comment`` lines head the C function: operator, shapes, quantization. ``macs`` counts
    multiply-accumulates of the operator's definition, however it is scheduled. ``in_place`` lists
    the inputs whose memory the result may take: each of their elements is read just before the same
    element of the result is written, and never again.

    A micro function is a small Function that kernels ``Invoke``: the innermost block of hot loops,
    shared where shapes allow it, with ``scalars`` as integer parameters. Its buffers are one-
    dimensional inputs and outputs; their extents are what one run may touch at most.

    ``steps`` tells how a schedule got here from the unscheduled function; it has no meaning.
    """

    name: str
    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...]
    body: tuple[Stmt, ...]
    workspace: tuple[Buffer, ...] = ()
    constants: tuple[Buffer, ...] = ()
    comment: tuple[str, ...] = ()
    op: str = ""
    macs: int = 0
    in_place: tuple[int, ...] = ()
    scalars: tuple[Var, ...] = ()
    steps: tuple[Step, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True)
class KernelCall:
    """One step of the network: a function applied to named values."""

    function: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Module:
    """Every kernel of a network, the order of their calls, and the values between them.

    ``tensors`` are the values in memory, ``aliases`` names those that are another's memory in a
    different shape; ``constants`` holds constant arrays by buffer name. ``micros`` are the micro
    functions that the kernels invoke, ``assembly`` the C text of those that are assembled already.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    functions: tuple[Function, ...]
    calls: tuple[KernelCall, ...]
    tensors: Mapping[str, Buffer]
    aliases: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    micros: tuple[Function, ...] = ()
    assembly: Mapping[str, str] = field(default_factory=dict)

    def root(self, name: str) -> str:
        """The value whose memory ``name`` shares."""
        while name in self.aliases:
            name = self.aliases[name]
        return name

    def function(self, name: str) -> Function:
        return next(f for f in self.functions if f.name == name)


def as_expr(value: Expr | int | float, dtype: DType = INT32) -> Expr:
    """A literal of the given dtype, or the expression itself."""
    return value if isinstance(value, Expr) else Imm(value, dtype)


def loop(var: Var, extent: int, *body: Stmt, parallel: bool = False) -> For:
    """``for var in range(extent)``."""
    return For(var, Imm(0), Imm(extent), tuple(body), parallel=parallel)


def minimum(a: Expr, b: Expr | int | float) -> Expr:
    return Binary("min", a, as_expr(b, a.dtype))


def maximum(a: Expr, b: Expr | int | float) -> Expr:
    return Binary("max", a, as_expr(b, a.dtype))


def clamp(value: Expr, low: int | float, high: int | float) -> Expr:
    return minimum(maximum(value, low), high)


def all_of(*conditions: Expr) -> Expr:
    """The conjunction of one or more conditions."""
    result = conditions[0]
    for condition in conditions[1:]:
        result = Binary("and", result, condition)
    return result
