"""Register blocks of two taps a word: one multiplication makes two products and their sum.

In: a weighted sum of int8 and the layout of its words. Out: the micro function that computes on
them and its stream. A word of pixels is a + b * 2^16 of two taps, one of weights v + w * 2^16 with
the weights of the same taps exchanged. In their product, modulo 2^32, the upper half is the sum of
both products, and the lower one of the two that are of no use:

    (a + b * 2^16) * (v + w * 2^16) + 2^15  =  (a * v + 2^15) + (a * w + b * v) * 2^16
    acc = acc + (that >> 16)

a * v + 2^15 is in 0 to 2^16 - 1, and the sum fits 16 bits if |v| + |w| is below 256: only two
weights of -128 side by side are too much. So two products take MLA and ADD with a shift, as many
instructions as alone, but half as many loads, at twice the bytes of weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Buffer, Cast, Expr, For, Function, Imm, Let, Load, Stmt, Store, Var
from utvm.schedule.conv_block import PAIR, STEP, BlockBuilder
from utvm.schedule.weighted_sum import Array, WeightedSum

_U32, _I32 = DType.UINT32, DType.INT32
_ROW = Var("row")
_HALF = Imm(1 << 15, _U32)
MOST_UNROLLED = 8
"""Pairs of taps that are unrolled without a loop around them."""


def is_folded(w: WeightedSum) -> bool:
    """Whether rows of windows are whole words, and products of two taps fit half a word."""
    whole = w.depth % 2 == 0 and w.pixel_pitch == w.depth and w.column_step == 1
    if not (whole and w.narrow and w.source.dtype is DType.INT8 and w.first_channel == 0):
        return False
    sizes = np.abs(w.weights.astype(np.int64)).reshape(-1, 2)
    return bool((sizes.sum(axis=1) < 256).all())


@dataclass
class FoldedBuilder(BlockBuilder):
    """Makes the micro function for filters [first, first + filters) of a kernel; the column of the
    layout is the words of a row of the buffer."""

    @property
    def _rows(self) -> int:
        return self.w.window[0]

    @property
    def _row_words(self) -> int:
        """Words of a row of a window."""
        return self.w.window[1] * self.w.depth // 2

    @property
    def _pixel_words(self) -> int:
        return self.w.strides[1] * self.w.depth // 2

    # Constants.

    def _after_sums(self) -> int:
        return self._biases + self.block.filters * self._rows * self._row_words

    @property
    def _block_words(self) -> int:
        return self._after_sums() + self.block.filters * len(self.epilogue.per_filter)

    def _stream(self, biases: Array, shift: int, turn: int) -> np.ndarray:
        """Per block: biases, if any, words of weights pair by pair, constants of the rescale."""
        b = self.block
        taps = self.w.weights.reshape(self.w.filters, -1, 2).astype(np.int64)
        words = (taps[..., 1] + (taps[..., 0] << 16) & 0xFFFFFFFF).astype(np.uint32).view(np.int32)
        per_filter = self.epilogue.streamed(self.constants)
        parts: list[np.ndarray] = []
        for begin in range(self.first, self.first + self.filters, b.filters):
            own = slice(begin, begin + b.filters)
            parts += [biases[own][: self._biases], words[own].T.reshape(-1)]
            if per_filter:
                parts.append(np.stack([data[own] for data in per_filter], axis=1).reshape(-1))
        return np.concatenate(parts).astype(np.int32)

    def _shift(self, biases: Array) -> int:
        return 0

    # The sums.

    def _window(self) -> Buffer:
        rows = (self._rows - 1) * self.layout.column
        reach = (self.block.pixels - 1) * self._pixel_words + rows + self._row_words
        return Buffer("x", _U32, (reach,), "input")

    def _word_steps(self) -> int:
        return self._rows * self._row_words

    @property
    def _looped(self) -> bool:
        return True

    @property
    def _ahead(self) -> int:
        return 0

    def _sums(self, steps: int) -> list[Stmt]:
        """Row by row; pairs in a loop where a row has many."""
        many = max(self.block.steps // 2, 1)
        turns = self._row_words // many
        body: list[Stmt] = []
        if turns > 1 and self._word_steps() > MOST_UNROLLED:
            turn = [s for pair in range(many) for s in self._pair(STEP, pair, many)]
            body = [For(STEP, Imm(0), Imm(turns), tuple(turn))]
        for pair in range(turns * many if body else 0, self._row_words):
            body += self._pair(None, pair, 0)
        return [For(_ROW, Imm(0), Imm(self._rows), tuple(body))]

    def _pair(self, k: Expr | None, pair: int, many: int) -> list[Stmt]:
        """Two taps of all pixels against all filters, ``k`` turns of ``many`` pairs later."""
        b = self.block
        place = PAIR * (b.pixels * self._pixel_words) + _ROW * self.layout.column
        ahead: Expr = _ROW * (self._row_words * b.filters)
        if k is not None:
            place, ahead = place + k * many, ahead + k * (many * b.filters)
        result: list[Stmt] = []
        for p in range(b.pixels):
            load = Load(self._window(), (place + (p * self._pixel_words + pair),))
            result.append(Let(Var(f"x{p}_{pair}", _U32), load))
        for f in range(b.filters):
            weight = Var(f"w{f}_{pair}", _U32)
            word = self._word(self._biases + b.filters * pair + f)
            word = Load(word.buffer, (word.indices[0] + ahead,))
            result.append(Let(weight, Cast(_U32, word)))
            for p in range(b.pixels):
                product = Var(f"s{p}_{f}_{pair}", _U32)
                result.append(Let(product, _HALF + Var(f"x{p}_{pair}", _U32) * weight))
                acc = self._acc(p, f)
                result.append(Store(acc, (), Load(acc) + (Cast(_I32, product) >> 16)))
        return result

    def _function(self, body: tuple[Stmt, ...]) -> Function:
        made, b = super()._function(body), self.block
        about = (
            f"{b.pixels} pixels x {b.filters} filters, {2 * self._word_steps()} taps, two a word."
        )
        name = f"folded{b.pixels}x{b.filters}_{2 * self._word_steps()}"
        return Function(
            name, made.inputs, made.outputs, made.body, comment=(about,), scalars=made.scalars
        )
