"""Weighted sums in register blocks: pixels x filters accumulators, two products per instruction.

In: what ``read_weighted_sum`` found. Out: a kernel that fills a line buffer and runs micro
functions on it, the micro functions, and the constants in the order in which they are used. The
block is a piece of ordinary loop IR with packed words (``ir/packed.py``); what it becomes, portable
C or assembly, is not known here. The kernel's epilogue is taken over statement by statement, so
rescale, activation and residual addition run while the accumulators are in registers.

    for pair: for block: acc[p, f] = bias[f]
              for k: x[p] = window words;  acc[p, f] = smlad(x[p], weights[f], acc[p, f])
              out[p, f] = epilogue(acc[p, f])
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import (
    Alloc,
    Buffer,
    Call,
    Expr,
    For,
    Function,
    Imm,
    Let,
    Load,
    Stmt,
    Store,
    Var,
)
from utvm.ir.rewrite import (
    Linear,
    expressions,
    free_vars,
    from_linear,
    map_expr,
    map_stmt,
    rename_buffers,
    simplify,
    simplify_body,
)
from utvm.schedule.weighted_sum import Array, WeightedSum, flat_form
from utvm.schedule.window_layout import WindowLayout, pack_words, taps_in_order

MOST_UNROLLED = 12
"""Steps of two taps that are unrolled without a loop around them."""

PAIR, BLOCK, STEP = Var("pair"), Var("block"), Var("k")
COUNT = Var("count")


@dataclass(frozen=True)
class Block:
    """``pixels`` x ``filters`` accumulators; ``wide`` weights are int16 in flash, else int8."""

    pixels: int
    filters: int
    wide: bool
    steps: int = 4


@dataclass(frozen=True)
class Operand:
    """A buffer of the kernel that the epilogue touches: the part of its offset that no block
    changes, and how far apart neighbouring columns are."""

    buffer: Buffer
    outer: Expr
    column: int


@dataclass
class BlockBuilder:
    """Makes the micro function for filters [first, first + filters) of a kernel.

    ``operands`` collects what the epilogue needs beside the stream, by the name in the micro
    function; ``stream`` is the constant words.
    """

    w: WeightedSum
    layout: WindowLayout
    block: Block
    first: int
    filters: int
    constants: Mapping[str, Array]
    operands: dict[str, Operand] = field(default_factory=dict)
    reaches: dict[str, int] = field(default_factory=dict)
    per_filter: list[str] = field(default_factory=list)
    legal: bool = True

    def build(self) -> tuple[Function, np.ndarray] | None:
        """The micro function and its stream; None where the epilogue cannot be taken over."""
        channel_constants = self._channel_constants()
        if channel_constants is None:
            return None
        self.per_filter = channel_constants
        stream = self._stream()
        b = self.block
        stores: list[Stmt] = []
        for p in range(b.pixels):
            for f in range(b.filters):
                stores += self._epilogue(p, f)
        if not self.legal:
            return None
        words = self._word_steps()
        body: tuple[Stmt, ...] = (*self._initial(), *self._sums(words), *stores)
        blocks = self.filters // b.filters
        if blocks > 1:
            body = (For(BLOCK, Imm(0), Imm(blocks), body),)
        else:
            body = tuple(_without(BLOCK, stmt) for stmt in body)
        body = simplify_body((For(PAIR, Imm(0), COUNT, body),))
        return self._function(body, len(stream)), stream

    # Constants.

    def _channel_constants(self) -> list[str] | None:
        """Names of the int32 arrays that the epilogue reads by filter."""
        names: list[str] = []
        if not isinstance(self.w.bias, Imm) and self._channel_data(self.w.bias) is None:
            return None
        for load in _loads(self.w.epilogue):
            if self._is_per_filter(load) and load.buffer.name not in names:
                names.append(load.buffer.name)
        return names

    def _is_per_filter(self, load: Load) -> bool:
        c = self.w.variables["c"]
        return (
            load.buffer.scope == "const"
            and load.buffer.dtype is DType.INT32
            and load.buffer.elements == self.w.filters > 1
            and flat_form(load.buffer, load.indices) == Linear(0, ((c, 1),))
        )

    def _channel_data(self, bias: Expr) -> Array | None:
        """The biases as an array, if the expression is a load of one by filter."""
        if isinstance(bias, Load) and bias.buffer.name in self.constants:
            data = self.constants[bias.buffer.name].reshape(-1)
            if data.dtype == np.int32 and data.size == self.w.filters:
                return data
        return None

    def _stream(self) -> np.ndarray:
        """Per block: biases, weights, constants of the rescale filter by filter."""
        w, b = self.w, self.block
        if isinstance(w.bias, Imm):
            bias = np.full(w.filters, int(w.bias.value), np.int32)
        else:
            found = self._channel_data(w.bias)
            assert found is not None
            bias = found
        taps = taps_in_order(w, self.layout)
        per_filter = [self.constants[name].reshape(-1) for name in self.per_filter]
        parts: list[np.ndarray] = []
        for begin in range(self.first, self.first + self.filters, b.filters):
            own = slice(begin, begin + b.filters)
            parts.append(bias[own])
            parts.append(pack_words(taps[own], b.wide).reshape(-1))
            if per_filter:
                parts.append(np.stack([data[own] for data in per_filter], axis=1).reshape(-1))
        return np.concatenate(parts).astype(np.int32)

    @property
    def _step_words(self) -> int:
        """Words of weights per step of two taps."""
        return self.block.filters if self.block.wide else -(-self.block.filters // 2)

    def _word_steps(self) -> int:
        _, kw = self.w.window
        return kw * self.layout.column // 2

    @property
    def _block_words(self) -> int:
        per_filter = 1 + len(self.per_filter)
        return self.block.filters * per_filter + self._word_steps() * self._step_words

    # The sums.

    def _window(self) -> Buffer:
        step = self.layout.step * self.layout.column
        extent = (self.block.pixels - 1) * step + 2 * self._word_steps()
        return Buffer("x", DType.INT16, (extent,), "input")

    def _weights(self) -> Buffer:
        words = self._block_words * (self.filters // self.block.filters)
        return Buffer("w", DType.INT32, (words,), "input")

    def _acc(self, p: int, f: int) -> Buffer:
        return Buffer(f"acc_{p}_{f}", DType.INT32, (), "register")

    def _word(self, at: int, k: Expr | None = None) -> Load:
        """Word ``at`` of the block's part of the stream, ``k`` steps later."""
        index: Expr = BLOCK * self._block_words
        if k is not None:
            index = index + k * self._step_words
        return Load(self._weights(), (index + at,))

    def _initial(self) -> list[Stmt]:
        result: list[Stmt] = []
        for f in range(self.block.filters):
            bias = Var(f"bias_{f}")
            result.append(Let(bias, self._word(f)))
            for p in range(self.block.pixels):
                result += [Alloc(self._acc(p, f)), Store(self._acc(p, f), (), bias)]
        return result

    def _sums(self, steps: int) -> list[Stmt]:
        """All steps: in a loop of ``block.steps`` each, or one behind the other where few."""
        if steps <= MOST_UNROLLED:
            return [stmt for u in range(steps) for stmt in self._step(None, u)]
        many = self.block.steps
        whole = steps - steps % many
        inner = tuple(stmt for u in range(many) for stmt in self._step(STEP, u))
        result: list[Stmt] = [For(STEP, Imm(0), Imm(whole), inner, many)]
        for u in range(whole, steps):
            result += self._step(None, u)
        return result

    def _step(self, k: Expr | None, u: int) -> list[Stmt]:
        """Two taps: the words of all pixels against those of all filters."""
        b = self.block
        pixel = self.layout.step * self.layout.column
        result: list[Stmt] = []
        for p in range(b.pixels):
            index: Expr = PAIR * (b.pixels * pixel)
            if k is not None:
                index = index + k * 2
            load = Load(self._window(), (index + (p * pixel + 2 * u),), 2)
            result.append(Let(Var(f"x{p}_{u}"), load))
        first = b.filters + u * self._step_words
        for f in range(b.filters):
            word = Var(f"w{f}_{u}")
            if b.wide:
                result.append(Let(word, self._word(first + f, k)))
            else:
                both = Var(f"w{f // 2 * 2}{f // 2 * 2 + 1}_{u}")
                if f % 2 == 0:
                    result.append(Let(both, self._word(first + f // 2, k)))
                name = "sxtb16_ror8" if f % 2 else "sxtb16"
                result.append(Let(word, Call(name, (both,), DType.INT32)))
            for p in range(b.pixels):
                acc = self._acc(p, f)
                total = Call("smlad", (Var(f"x{p}_{u}"), word, Load(acc)), DType.INT32)
                result.append(Store(acc, (), total))
        return result

    # The epilogue.

    def _epilogue(self, p: int, f: int) -> list[Stmt]:
        """The kernel's own statements for one pixel and one filter of the block."""
        w, b = self.w, self.block
        names = {name: loop for loop, name in w.variables.items()}
        inside = {
            "x": PAIR * b.pixels + p,
            "c": BLOCK * b.filters + (self.first + f),
        }
        lets: dict[str, Expr] = {}

        def change(expr: Expr) -> Expr:
            match expr:
                case Var(name) if name in lets:
                    return lets[name]
                case Load(buffer) if buffer == w.acc:
                    return Load(self._acc(p, f))
                case Load(buffer, indices, 1) if self._is_per_filter(expr):
                    last = b.filters + self._word_steps() * self._step_words
                    place = self.per_filter.index(buffer.name) + f * len(self.per_filter)
                    return self._word(last + place)
                case Load(buffer, indices, 1) if buffer.scope != "register":
                    return Load(*self._place(buffer, indices, names, inside))
            return expr

        result: list[Stmt] = []
        for stmt in w.epilogue:
            match stmt:
                case Let(var, value):
                    own = Var(f"{var.name}_{p}_{f}", var.dtype)
                    result.append(Let(own, simplify(map_expr(value, change))))
                    lets[var.name] = own
                case Store(buffer, indices, value, 1) if buffer.scope == "output":
                    place, index = self._place(buffer, indices, names, inside)
                    result.append(Store(place, index, simplify(map_expr(value, change))))
                case _:
                    self.legal = False
        return result

    def _place(
        self,
        buffer: Buffer,
        indices: tuple[Expr, ...],
        names: Mapping[str, str],
        inside: Mapping[str, Expr],
    ) -> tuple[Buffer, tuple[Expr, ...]]:
        """An element of a kernel's buffer as one of the micro function's parameter.

        The part of a linear index that the block does not change goes into the pointer. A table
        is looked up at whatever index, from its beginning.
        """
        form = flat_form(buffer, indices)
        moving = () if form is None else tuple(t for t in form.terms if names.get(t[0]) in inside)
        if form is None:
            loops = {name for index in indices for name in free_vars(index)} & set(names)
            self.legal &= buffer.scope == "const" and not loops
            self._operand(Operand(buffer, Imm(0), 0), buffer.elements)
            offset: Expr = Imm(0)
            for size, index in zip(buffer.shape, indices, strict=True):
                offset = offset * size + index
            return self._parameter(buffer), (simplify(offset),)
        fixed = Linear(form.constant, tuple(t for t in form.terms if t not in moving))
        self.legal &= all(c > 0 for _, c in moving)
        reach = 1
        index_form: Expr = Imm(0)
        for name, coefficient in moving:
            loop = names[name]
            index_form = index_form + inside[loop] * coefficient
            last = self.block.pixels - 1 if loop == "x" else self.first + self.filters - 1
            reach += coefficient * last
        column = dict(moving).get(self.w.variables["x"], 0)
        self._operand(Operand(buffer, from_linear(fixed), column), reach)
        return self._parameter(buffer), (index_form,)

    def _operand(self, operand: Operand, reach: int) -> None:
        name = operand.buffer.name
        known = self.operands.setdefault(name, operand)
        self.legal &= (known.outer, known.column) == (operand.outer, operand.column)
        self.reaches[name] = max(reach, self.reaches.get(name, 0))

    def _parameter(self, buffer: Buffer) -> Buffer:
        """What the operand is called inside: by role and position, so that equal blocks compare
        equal; its extent is known when all accesses are."""
        names = list(self.operands)
        scope = "output" if buffer.scope == "output" else "input"
        name = "out" if scope == "output" else f"in{names.index(buffer.name)}"
        return Buffer(name, buffer.dtype, (1,), scope)

    def _function(self, body: tuple[Stmt, ...], words: int) -> Function:
        """The micro function, with the extents of its parameters."""
        sized = {}
        for name, operand in self.operands.items():
            parameter = self._parameter(operand.buffer)
            sized[parameter.name] = replace(parameter, shape=(self.reaches[name],))
        inputs: tuple[Buffer, ...] = (self._window(), self._weights())
        inputs += tuple(b for b in sized.values() if b.scope == "input")
        outputs = tuple(b for b in sized.values() if b.scope == "output")
        b = self.block
        kind = "int16" if b.wide else "int8"
        about = (
            f"{b.pixels} pixels x {b.filters} filters, {2 * self._word_steps()} taps, weights as "
            f"{kind}: biases, weights and constants of the rescale in one stream."
        )
        body = rename_buffers(body, sized)
        name = f"conv{b.pixels}x{b.filters}_{2 * self._word_steps()}_{kind}"
        return Function(name, inputs, outputs, body, comment=(about,), scalars=(COUNT,))


def _loads(body: tuple[Stmt, ...]) -> list[Load]:
    return [expr for expr in expressions(body) if isinstance(expr, Load)]


def _without(var: Var, stmt: Stmt) -> Stmt:
    """The statement in the only iteration of a loop."""
    return map_stmt(stmt, lambda e: Imm(0) if e == var else e)
