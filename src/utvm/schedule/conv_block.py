"""Weighted sums in register blocks: pixels x filters accumulators, two products per instruction.

In: what ``read_weighted_sum`` found. Out: a kernel that fills a line buffer and runs micro
functions on it, the micro functions, and the constants in the order in which they are used. The
block is a piece of ordinary loop IR with packed words (``ir/packed.py``); what it becomes, portable
C or assembly, is not known here. The kernel's epilogue is taken over statement by statement, so
rescale, activation and residual addition run while the accumulators are in registers.

    for pair: for block: acc[p, f] = bias[f], or 0 where the rescale makes up for it
              for k: x[p] = window words;  acc[p, f] = smlad(x[p], weights[f], acc[p, f])
              out[p, f] = epilogue(acc[p, f])
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

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
    map_stmt,
    simplify_body,
)
from utvm.schedule.clamp import Clamp, pair, read_clamp, value_of
from utvm.schedule.epilogue import Epilogue, Sharing
from utvm.schedule.unbiased import RAISED
from utvm.schedule.weighted_sum import (
    Array,
    WeightedSum,
    flat_form,
    folded_shift,
    known_bias,
    largest_sum,
)
from utvm.schedule.window_layout import WindowLayout, even, pack_words, ring_turns, taps_in_order

MOST_UNROLLED = 12
"""Steps of two taps that are unrolled without a loop around them."""

TOGETHER = 4
"""Bytes of a word."""

PAIR, BLOCK, STEP = Var("pair"), Var("block"), Var("k")
COUNT = Var("count")


@dataclass(frozen=True)
class Block:
    """``pixels`` x ``filters`` accumulators; ``wide`` weights are int16 in flash, else int8.
    ``plain``: packed words will be taken apart, so results are stored one by one."""

    pixels: int
    filters: int
    wide: bool
    steps: int = 4
    plain: bool = False


@dataclass
class BlockBuilder:
    """Makes the micro function for filters [first, first + filters) of a kernel."""

    w: WeightedSum
    layout: WindowLayout
    block: Block
    first: int
    filters: int
    constants: Mapping[str, Array]
    epilogue: Epilogue = field(init=False)
    clamp: Clamp | None = field(init=False)

    def __post_init__(self) -> None:
        w, b = self.w, self.block
        names = w.variables
        last = {names["x"]: b.pixels - 1, names["c"]: self.first + self.filters - 1}
        statements = w.epilogue
        self.clamp = self._read_clamp()
        if self.clamp is not None:
            statements = self.clamp.statements
            self.constants = {**self.constants, **self.clamp.constants}
        self.epilogue = Epilogue(
            statements,
            w.acc,
            w.filters,
            Linear(0, ((names["c"], 1),)),
            last,
            frozenset(names.values()),
            sharing=self.sharing(),
        )

    def _read_clamp(self) -> Clamp | None:
        """The clamp of a kernel that makes bytes and shares nothing."""
        w = self.w
        biases = known_bias(w.bias, w.filters, self.constants)
        if biases is None or self.sharing() is not None or self.block.plain:
            return None
        most = largest_sum(w.weights, w.source.dtype, biases)
        clamp = read_clamp(w.epilogue, self.constants, w.filters, w.acc, most)
        return clamp if clamp is not None and clamp.lanes == TOGETHER else None

    @cached_property
    def _packs(self) -> bool:
        """Whether four results of a pixel are stored as a word."""
        store = self.w.epilogue[-1]
        if self.clamp is None or self.clamp.is_done or not isinstance(store, Store):
            return False
        form, filter = flat_form(store.buffer, store.indices), self.w.variables["c"]
        if form is None or form.coefficient(filter) != 1:
            return False
        apart = (form.constant, *(n for name, n in form.terms if name != filter))
        whole = (self.block.filters, self.first, *apart)
        return all(number % TOGETHER == 0 for number in whole)

    def sharing(self) -> Sharing | None:
        """What layers share; None: every number is a literal."""
        return None

    def build(self) -> tuple[Function, np.ndarray] | None:
        """The micro function and its stream; None where the epilogue cannot be taken over."""
        biases = known_bias(self.w.bias, self.w.filters, self.constants)
        if biases is None:
            return None
        shift = self._shift(biases)
        turns = ring_turns(self.w) if self.layout.ring else 1
        stream = np.concatenate([self._stream(biases, shift, turn) for turn in range(turns)])
        stores = self._stores(shift)
        if not self.epilogue.legal:
            return None
        body: tuple[Stmt, ...] = (*self._initial(), *self._sums(self._word_steps()), *stores)
        blocks = self._blocks()
        if blocks == Imm(1):
            body = tuple(_without(BLOCK, stmt) for stmt in body)
        else:
            body = (For(BLOCK, Imm(0), blocks, body),)
        body = simplify_body((For(PAIR, Imm(0), COUNT, body),))
        return self._function(body), stream

    def _shift(self, biases: Array) -> int:
        """How far left weights and biases are shifted, so that the epilogue need not shift sums;
        with raised pixels, these and weights."""
        if self.w.raised:
            return self.epilogue.left_shift
        if not self.block.wide:
            return 0
        return folded_shift(self.epilogue.left_shift, self.w.weights, self.w.source.dtype, biases)

    def _blocks(self) -> Expr:
        return Imm(self.filters // self.block.filters)

    # Constants.

    def _stream(self, biases: Array, shift: int, turn: int) -> np.ndarray:
        """Per block: biases, if any, weights, constants of the rescale filter by filter."""
        b = self.block
        taps = self._taps(turn) << (shift - RAISED if self.w.raised else shift)
        per_filter = self.epilogue.streamed(self.constants)
        parts: list[np.ndarray] = []
        for begin in range(self.first, self.first + self.filters, b.filters):
            own = slice(begin, begin + b.filters)
            parts.append((biases[own] << shift)[: self._biases])
            parts.append(pack_words(taps[own], b.wide).reshape(-1))
            if per_filter:
                parts.append(np.stack([data[own] for data in per_filter], axis=1).reshape(-1))
        return np.concatenate(parts).astype(np.int32)

    def _taps(self, turn: int) -> Array:
        return taps_in_order(self.w, self.layout, turn)

    @cached_property
    def _biases(self) -> int:
        """Words of the block's part of the stream in front of the weights."""
        biases = known_bias(self.w.bias, self.w.filters, self.constants)
        return 0 if biases is None or not biases.any() else self.block.filters

    @property
    def _step_words(self) -> int:
        """Words of weights per step of two taps."""
        return self.block.filters if self.block.wide else -(-self.block.filters // 2)

    def _word_steps(self) -> int:
        _, kw = self.w.window
        return even(kw * self.layout.column) // 2

    @property
    def _block_words(self) -> int:
        constants = self.block.filters * len(self.epilogue.per_filter)
        return self._biases + self._word_steps() * self._step_words + constants

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
            bias = self._bias(f)
            if isinstance(bias, Var):
                result.append(Let(bias, self._word(f)))
            for p in range(self.block.pixels):
                result.append(Alloc(self._acc(p, f)))
                if self._looped and not self._ahead:
                    result.append(Store(self._acc(p, f), (), bias))
        return result

    def _bias(self, f: int) -> Expr:
        """What the sums of filter ``f`` begin with."""
        return Var(f"bias_{f}") if self._biases else Imm(0)

    @property
    def _looped(self) -> bool:
        """Whether there is a loop over steps."""
        return self._word_steps() > MOST_UNROLLED

    @property
    def _ahead(self) -> int:
        """Steps in front of the loop, those that fill no turn: the first one begins the sums."""
        return self._word_steps() % self.block.steps if self._looped else 0

    def _sums(self, steps: int) -> list[Stmt]:
        """All steps: in a loop of ``block.steps`` each, or one behind the other where few."""
        if not self._looped:
            return [stmt for u in range(steps) for stmt in self._step(None, u)]
        many, ahead = self.block.steps, self._ahead
        result = [stmt for u in range(ahead) for stmt in self._step(None, u)]
        inner = tuple(stmt for u in range(ahead, ahead + many) for stmt in self._step(STEP, u))
        return [*result, For(STEP, Imm(0), Imm(steps - ahead), inner, many)]

    def _step(self, k: Expr | None, u: int) -> list[Stmt]:
        """Two taps: the words of all pixels against those of all filters."""
        b = self.block
        result: list[Stmt] = []
        for p in range(b.pixels):
            result.append(Let(Var(f"x{p}_{u}"), self._pixel(p, u, k)))
        for f in range(b.filters):
            word = Var(f"w{f}_{u}")
            result += self._weight(word, f, u, k)
            result += self._products(word, f, u, first=k is None and u == 0)
        return result

    def _products(self, word: Var, f: int, u: int, first: bool) -> list[Stmt]:
        """Step ``u`` of the sums of filter ``f``; the ``first`` one adds to the bias."""
        result: list[Stmt] = []
        pixels = range(self.block.pixels)
        # The register of the bias becomes the last pixel's sum.
        for p in reversed(pixels) if first else pixels:
            acc = self._acc(p, f)
            total = self._bias(f) if first else Load(acc)
            product = Call("smlad", (Var(f"x{p}_{u}"), word, total), DType.INT32)
            result.append(Store(acc, (), product))
        return result

    def _weight(self, word: Var, f: int, u: int, k: Expr | None) -> list[Stmt]:
        """Two taps of filter ``f`` as ``word``: step ``u``, ``k`` steps later."""
        first = self._biases + u * self._step_words
        if self.block.wide:
            return [Let(word, self._word(first + f, k))]
        both = Var(f"w{f // 2 * 2}{f // 2 * 2 + 1}_{u}")
        name = "sxtb16_ror8" if f % 2 else "sxtb16"
        unpacked = Let(word, Call(name, (both,), DType.INT32))
        return [unpacked] if f % 2 else [Let(both, self._word(first + f // 2, k)), unpacked]

    def _pixel(self, p: int, u: int, k: Expr | None) -> Load:
        """Two taps of pixel ``p``: step ``u``, ``k`` steps later."""
        pixel = self.layout.step * self.layout.column
        index: Expr = PAIR * (self.block.pixels * pixel)
        if k is not None:
            index = index + k * 2
        return Load(self._window(), (index + (p * pixel + 2 * u),), 2)

    # The epilogue.

    def _after_sums(self) -> int:
        """Where the block's part of the stream goes on behind the weights."""
        return self._biases + self._word_steps() * self._step_words

    def _first_result(self) -> int:
        """The filter whose result lies where the pointers of the operands point."""
        return self.first

    def _stores(self, shift: int) -> list[Stmt]:
        """The kernel's own statements for the block, filter by filter."""
        b = self.block
        result: list[Stmt] = []
        for f in range(b.filters):
            result += self._rescale_words(f)
            for p in range(b.pixels):
                result += self._result(p, f, shift)
        return result

    def _rescale_words(self, f: int) -> list[Stmt]:
        """Loads the constants of a filter's rescale."""
        per_filter = len(self.epilogue.per_filter)
        begin = self._after_sums() + f * per_filter
        return [Let(Var(f"constant_{f}_{i}"), self._word(begin + i)) for i in range(per_filter)]

    def _result(self, p: int, f: int, shift: int) -> list[Stmt]:
        """One pixel and one filter."""
        b, names = self.block, self.w.variables
        inside = {
            names["x"]: PAIR * b.pixels + p,
            names["c"]: BLOCK * b.filters + (self._first_result() + f),
        }

        def word(i: int) -> Expr:
            return Var(f"constant_{f}_{i}")

        result = self.epilogue.result(inside, self._acc(p, f), word, f"{p}_{f}", shift)
        if self.clamp is None or not self.epilogue.legal:
            return result
        *others, store = result
        finished = self._packed(store, p, f) if self._packs else [self.clamp.alone(store)]
        return [*others, *finished]

    def _packed(self, store: Stmt, p: int, f: int) -> list[Stmt]:
        """A result as a byte beside those before it; the last of a word stores them."""
        assert self.clamp is not None and isinstance(store, Store)
        lane, suffix = f % TOGETHER, f"{p}_{f // TOGETHER}"
        value, lower = value_of(store), Var(f"bytes_{suffix}")
        if lane % 2 == 0:
            return [Let(Var(f"byte_{lane}_{suffix}"), value)]
        both = pair(Var(f"byte_{lane - 1}_{suffix}"), value)
        if lane == 1:
            return [Let(lower, both)]
        (index,) = store.indices
        return [Store(store.buffer, (index - lane,), self.clamp.word(lower, both), TOGETHER)]

    def _function(self, body: tuple[Stmt, ...]) -> Function:
        """The micro function, with the extents of its parameters."""
        b = self.block
        kind = "int16" if b.wide else "int8"
        about = (
            f"{b.pixels} pixels x {b.filters} filters, {2 * self._word_steps()} taps, weights as "
            f"{kind}: biases, weights and constants of the rescale in one stream."
        )
        inputs, outputs = self.epilogue.parameters()
        name = f"conv{b.pixels}x{b.filters}_{2 * self._word_steps()}_{kind}"
        return Function(
            name,
            (self._window(), self._weights(), *inputs),
            outputs,
            self.epilogue.resized(body),
            comment=(about,),
            scalars=(COUNT,),
        )


def _without(var: Var, stmt: Stmt) -> Stmt:
    """The statement in the only iteration of a loop."""
    return map_stmt(stmt, lambda e: Imm(0) if e == var else e)
