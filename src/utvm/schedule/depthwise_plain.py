"""The micro function of a depthwise convolution without packed words: pixels of one channel.

In: the geometry, and how pixels and lines lie in memory. Out: a micro function that walks groups of
four channels, one channel after the other, and results along two axes, and its stream of constants.
A block is as many results of a channel as there are registers for: each element of a line is loaded
once and meets the weights of that line, which stay in registers until the next. Like all plain
blocks it takes loads of one element, products and sums, whatever the core.

    for line: w0, w1, w2 = weights;  for element x: acc0 += x * w2;  acc1 += x * w1;  acc2 += x * w0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import (
    Alloc,
    Binary,
    Buffer,
    Cast,
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
from utvm.ir.rewrite import simplify_body
from utvm.schedule.depthwise_across import (
    GROUP,
    GROUPS,
    OUTER,
    AcrossBuilder,
    Use,
    words_of_block,
)

I32 = DType.INT32
_GROUP, _FILTER, _LANE = Var("group"), Var("filter"), Var("lane")
_ROW, _BLOCK = Var("row"), Var("block")
_WORD_BYTES = 4
MOST_SHARING = 4
"""Weights of a line that wait in registers until every pixel of a block has met them."""


def elements_of_block(taps: Sequence[int], pixels: int, step: int, length: int) -> list[Use]:
    """The elements that ``pixels`` windows, ``step`` elements apart, see, line by line; each once
    where the weights of a line, ``length`` taps, can wait."""
    uses = words_of_block(taps, pixels, step, length <= MOST_SHARING)

    def place(use: Use) -> tuple[int, int]:
        offset, products = use
        return min(tap for _, tap in products) // length, offset

    return sorted(uses, key=place) if length <= MOST_SHARING else uses


@dataclass
class PlainAcrossBuilder(AcrossBuilder):
    """Makes the micro function; ``pixels`` of a channel make a block."""

    def build(self, groups: Sequence[int]) -> tuple[Function, np.ndarray] | None:
        """The micro function and its stream for groups of channels that begin at ``groups``; None
        where the epilogue cannot be taken over."""
        whole, rest = divmod(self._count, self.pixels)
        body: tuple[Stmt, ...] = ()
        if whole:
            block = tuple(self._results_of(_BLOCK * self.pixels, 0, self.pixels))
            body += (For(_BLOCK, Imm(0), Imm(whole), block),)
        if rest:
            body += tuple(self._results_of(Imm(0), whole * self.pixels, rest))
        if not self.epilogue.legal:
            return None
        for var, stop in (
            (_ROW, OUTER),
            (_LANE, Imm(GROUP)),
            (_FILTER, Imm(self.w.multiplier)),
            (_GROUP, GROUPS),
        ):
            body = (For(var, Imm(0), stop, body),)
        return self._function(simplify_body(body)), self._stream(groups)

    # Constants.

    @cached_property
    def _dtype(self) -> DType:
        """What the stream keeps weights in."""
        weights = self.w.weights.astype(np.int64) << self._shift
        narrow = np.array_equal(weights.astype(np.int8), weights)
        return DType.INT8 if narrow else DType.INT16

    @property
    def _weight_words(self) -> int:
        return -(-len(self._taps) * self._dtype.size_bytes // _WORD_BYTES)

    @property
    def _lane_words(self) -> int:
        return 1 + self._weight_words + len(self.epilogue.per_filter)

    @property
    def group_words(self) -> int:
        return GROUP * self._lane_words

    def _stream(self, groups: Sequence[int]) -> np.ndarray:
        """Per channel and filter of it: bias, weights tap by tap, constants of the rescale."""
        per_filter = self.epilogue.streamed(self.ready.constants)
        rows, columns = np.array(self._order).T
        weights = self.w.weights[:, rows, columns].astype(np.int64) << self._shift
        weights = weights.astype(self._dtype.numpy)
        room = self._weight_words * _WORD_BYTES // self._dtype.size_bytes - weights.shape[1]
        padded = np.pad(weights, ((0, 0), (0, room)))
        words = np.ascontiguousarray(padded).view(np.int32)
        m = np.arange(self.w.multiplier)[:, None]
        own = (np.array(groups)[:, None, None] + np.arange(GROUP)) * self.w.multiplier + m
        parts = [self.ready.biases[own][..., None] << self._shift, words[own]]
        parts += [data[own][..., None] for data in per_filter]
        return np.concatenate(parts, axis=3).astype(np.int32).reshape(-1)

    def _word(self, at: int) -> Load:
        """A word of the stream of this channel and filter."""
        every = self.w.multiplier * self.group_words
        index = _GROUP * every + _FILTER * self.group_words + _LANE * self._lane_words + at
        return Load(Buffer("w", I32, (every,), "input"), (index,))

    def _weight(self, tap: int) -> Expr:
        """A weight, out of its word."""
        lanes = _WORD_BYTES // self._dtype.size_bytes
        word: Expr = self._word(1 + tap // lanes)
        if tap % lanes:
            word = Binary(">>", word, Imm(tap % lanes * self._dtype.bits))
        return Cast(I32, Cast(self._dtype, word))

    # One block.

    def _results_of(self, at: Expr, first: int, pixels: int) -> list[Stmt]:
        """The results of ``pixels`` from ``at + first`` on."""
        accs = [Buffer(f"acc{first}_{p}", I32, (), "register") for p in range(pixels)]
        bias = Var(f"bias{first}")
        result: list[Stmt] = [*map(Alloc, accs), Let(bias, self._word(0))]
        begun: set[int] = set()
        weights: dict[int, Var] = {}
        at_axis = 0 if self.places.vertical else 1
        length = self.w.window[at_axis]
        uses = elements_of_block(self._taps, pixels, self._steps[0], length)
        for number, (offset, products) in enumerate(uses):
            place = _GROUP * GROUP + _LANE + _ROW * self._steps[1]
            place = place + ((at + first) * self._steps[0] + offset)
            x = Var(f"x{first}_{number}")
            result.append(Let(x, Cast(I32, Load(self._source(), (place,)))))
            for p, tap in products:
                if tap not in weights:
                    weights[tap] = Var(f"w{first}_{tap}")
                    result.append(Let(weights[tap], self._weight(tap)))
                before: Expr = Load(accs[p]) if p in begun else bias
                begun.add(p)
                result.append(Store(accs[p], (), before + x * weights[tap]))
        return [*result, *self._stores(at, first, accs)]

    def _stores(self, at: Expr, first: int, accs: Sequence[Buffer]) -> list[Stmt]:
        inner, outer = self.w.axes if self.places.vertical else self.w.axes[::-1]
        count = len(self.epilogue.per_filter)
        words = [Var(f"constant{first}_{i}") for i in range(count)]
        begin = 1 + self._weight_words
        result: list[Stmt] = [Let(var, self._word(begin + i)) for i, var in enumerate(words)]
        for p, acc in enumerate(accs):
            inside: dict[str, Expr] = {
                outer: _ROW,
                inner: at + (first + p),
                "c": _GROUP * GROUP + _LANE,
            }
            if self.w.multiplier > 1:
                inside["m"] = _FILTER
            tag = f"{first}_{p}"
            result += self.epilogue.result(inside, acc, words.__getitem__, tag, self._shift)
        return result
