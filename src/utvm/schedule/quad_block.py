"""Register blocks of four filters of one pixel: what has no neighbour on cores without DSP.

In: a weighted sum of one column and the layout of its pixels, each a word. Out: the micro function,
its words and its weights. A word holds a weight of each of four filters as bytes plus 128; two of
them at a time are a factor with a weight in each half, so a multiplication makes two products:

    word = w0 + w1 * 2^8 + w2 * 2^16 + w3 * 2^24        word & 0x00ff00ff = w0 + w2 * 2^16

All else is as in ``pair_block.py``, with filters 0 and 2, 1 and 3 in the place of two pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Alloc, Binary, Buffer, Cast, Expr, Imm, Let, Load, Stmt, Store, Var
from utvm.schedule.conv_block import BLOCK, PAIR, STEP
from utvm.schedule.pair_block import PairBuilder
from utvm.schedule.pair_layout import HALF, OFFSET, window_taps
from utvm.schedule.weighted_sum import Array

FILTERS = 4
"""Bytes of a word."""
_HALVES = 0x00FF00FF
_MASK = Var("mask", DType.UINT32)
_U32, _I32 = DType.UINT32, DType.INT32


@dataclass
class QuadBuilder(PairBuilder):
    """Makes the micro function for filters [first, first + filters): ``block.filters`` of each four
    are stored."""

    def _blocks(self) -> Expr:
        return Imm(self._count)

    @property
    def _count(self) -> int:
        return -(-self.filters // FILTERS)

    # Constants.

    def _padded(self, data: Array) -> Array:
        """One element per filter of whole blocks."""
        own = data[self.first : self.first + self.filters]
        room = self._count * FILTERS - self.filters
        return np.pad(own, [(0, room)] + [(0, 0)] * (own.ndim - 1))

    def _constants(self, biases: Array) -> Array:
        """Per block: the mask of halves; of each pair of filters the upper one's bias and what its
        sum of words begins with; constants of the rescale, filter by filter."""
        groups = self._taps_count // self.words.group
        known = self._padded(biases.astype(np.int64)).reshape(-1, FILTERS)
        low, high = known[:, :2], known[:, 2:]
        begins = low - groups * HALF + (high << 16)
        parts = [np.full((self._count, 1), _HALVES)]
        parts.append(np.stack([high, begins], axis=2).reshape(self._count, -1))
        per_filter = [data.astype(np.int64) for data in self.epilogue.streamed(self.constants)]
        if per_filter:
            each = np.stack([self._padded(data) for data in per_filter], axis=1)
            size = self.block.filters * len(per_filter)
            parts.append(each.reshape(self._count, -1)[:, :size])
        words = np.concatenate(parts, axis=1).reshape(-1)
        return (words & 0xFFFFFFFF).astype(np.uint32).view(np.int32)

    def _bytes(self) -> Array:
        """Weights block by block, tap by tap: a word of four filters."""
        taps = self._padded(window_taps(self.w, self.words)) + OFFSET
        blocks = taps.reshape(self._count, FILTERS, self._taps_count).transpose(0, 2, 1)
        return np.ascontiguousarray(blocks.astype(np.uint8)).reshape(-1).view(np.int32)

    @property
    def _block_words(self) -> int:
        return self._after_sums() + self.block.filters * len(self.epilogue.per_filter)

    def _after_sums(self) -> int:
        return 1 + FILTERS

    def _byte_stream(self) -> Buffer:
        return Buffer("w", _I32, (self._taps_count * self._count,), "input")

    def _weights(self) -> Buffer:
        return Buffer("constants", _I32, (self._block_words * self._count,), "input")

    # The sums.

    def _second(self, f: int) -> Buffer:
        """The sum of the filter two behind."""
        return self._acc(0, f + 2)

    def _initial(self) -> list[Stmt]:
        result: list[Stmt] = [Let(_MASK, Cast(_U32, self._word(0)))]
        for f in range(2):
            total, second = self._total(f), self._second(f)
            result += [Alloc(second), Store(second, (), self._word(1 + 2 * f))]
            result += [Alloc(total), Store(total, (), Cast(_U32, self._word(2 + 2 * f)))]
        return result

    def _group(self, u: int) -> list[Stmt]:
        """One group: every tap meets four filters, then the halves are added."""
        group = self.words.group
        at = PAIR * self.words.pair_words + STEP * (group + 1) + u * (group + 1)
        weights = BLOCK * self._taps_count + (STEP + u) * group
        result: list[Stmt] = [Let(Var(f"c_{u}", _U32), Load(self._window(), (at,)))]
        sums: list[Var] = [Var(f"c_{u}", _U32)] * 2
        for i in range(group):
            pixel, word = Var(f"x{i}_{u}", _U32), Var(f"w{i}_{u}", _U32)
            result.append(Let(pixel, Load(self._window(), (at + (1 + i),))))
            result.append(Let(word, Cast(_U32, Load(self._byte_stream(), (weights + i,)))))
            for f in range(2):
                lanes = Binary("&", word >> 8 if f else word, _MASK)
                total = Var(f"s{i}_{f}_{u}", _U32)
                result.append(Let(total, sums[f] + lanes * pixel))
                sums[f] = total
        return [*result, *self._added(sums)]

    def _halves(self) -> list[Stmt]:
        """The lower filters' sums."""
        result: list[Stmt] = []
        for f in range(2):
            upper = Binary("<<", Cast(_U32, Load(self._second(f))), Imm(16, _U32))
            acc = self._acc(0, f)
            result += [Alloc(acc), Store(acc, (), Cast(_I32, Load(self._total(f)) - upper))]
        return result
