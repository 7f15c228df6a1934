"""Register blocks of pixel pairs: two products per multiplication on cores without DSP.

In: a weighted sum and the layout of its words. Out: the micro function that computes some filters
of pairs of pixels, its weights as bytes and its words (biases, constants of the rescale). A sum of
a group, ``s``, holds both pixels' parts in its halves; three instructions add it to both sums:

    T = T + s;  H = H + (s >> 16)          H is the second pixel's sum, T - (H << 16) the first's
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
from utvm.schedule.clamp import Clamp
from utvm.schedule.conv_block import BLOCK, COUNT, PAIR, STEP, BlockBuilder
from utvm.schedule.pair_layout import HALF, OFFSET, PairLayout, window_taps
from utvm.schedule.weighted_sum import Array, known_bias

_UNROLLED_TAPS = 8
"""Taps of a turn of the loop."""
_U32, _I32 = DType.UINT32, DType.INT32


@dataclass
class PairBuilder(BlockBuilder):
    """Makes the micro function for filters [first, first + filters): with ``block.pixels`` 1 only
    the first pixel of a pair is stored."""

    pairs: PairLayout | None = None

    def _read_clamp(self) -> Clamp | None:
        """Bytes are stored one by one."""
        return None

    @property
    def words(self) -> PairLayout:
        assert self.pairs is not None
        return self.pairs

    def built(self) -> tuple[Function, Array, Array] | None:
        """The micro function, its words and its weights; None where the epilogue is of another
        kind."""
        biases = known_bias(self.w.bias, self.w.filters, self.constants)
        if biases is None:
            return None
        stores = self._stores(0)
        if not self.epilogue.legal:
            return None
        body: tuple[Stmt, ...] = (*self._initial(), self._groups(), *self._halves(), *stores)
        body = (For(BLOCK, Imm(0), self._blocks(), body),)
        body = simplify_body((For(PAIR, Imm(0), COUNT, body),))
        return self._function(body), self._constants(biases), self._bytes()

    # Constants.

    @property
    def _taps_count(self) -> int:
        return self.words.window_words // (self.words.group + 1) * self.words.group

    def _constants(self, biases: Array) -> Array:
        """Per block: of each filter the bias and what its sum of words begins with; then constants
        of the rescale, filter by filter."""
        f = self.block.filters
        groups = self._taps_count // self.words.group
        known = biases.astype(np.int64)
        begins = known - groups * HALF + (known << 16)
        per_filter = [data.astype(np.int64) for data in self.epilogue.streamed(self.constants)]
        parts: list[Array] = []
        for begin in range(self.first, self.first + self.filters, f):
            own = slice(begin, begin + f)
            parts.append(np.stack([known[own], begins[own]], axis=1).reshape(-1))
            if per_filter:
                parts.append(np.stack([data[own] for data in per_filter], axis=1).reshape(-1))
        return (np.concatenate(parts) & 0xFFFFFFFF).astype(np.uint32).view(np.int32)

    def _bytes(self) -> Array:
        """Weights block by block, each tap by tap with all filters of a block side by side."""
        taps = window_taps(self.w, self.words)[self.first : self.first + self.filters]
        blocks = taps.reshape(-1, self.block.filters, self._taps_count).transpose(0, 2, 1)
        return (blocks + OFFSET).reshape(-1).astype(np.uint8)

    @property
    def _block_words(self) -> int:
        return self.block.filters * (2 + len(self.epilogue.per_filter))

    def _after_sums(self) -> int:
        return 2 * self.block.filters

    # The sums.

    def _window(self) -> Buffer:
        return Buffer("x", _U32, (self.words.window_words,), "input")

    def _byte_stream(self) -> Buffer:
        return Buffer("w", DType.UINT8, (self._taps_count * self.filters,), "input")

    def _weights(self) -> Buffer:
        blocks = self.filters // self.block.filters
        return Buffer("constants", _I32, (self._block_words * blocks,), "input")

    def _word(self, at: int, k: Expr | None = None) -> Load:
        return Load(self._weights(), (BLOCK * self._block_words + at,))

    def _total(self, f: int) -> Buffer:
        return Buffer(f"total_{f}", _U32, (), "register")

    def _second(self, f: int) -> Buffer:
        """The sum of the second pixel."""
        return (
            self._acc(1, f) if self.block.pixels > 1 else Buffer(f"acc_1_{f}", _I32, (), "register")
        )

    def _initial(self) -> list[Stmt]:
        result: list[Stmt] = []
        for f in range(self.block.filters):
            total, second = self._total(f), self._second(f)
            result += [Alloc(second), Store(second, (), self._word(2 * f))]
            result += [Alloc(total), Store(total, (), Cast(_U32, self._word(2 * f + 1)))]
        return result

    def _groups(self) -> Stmt:
        """All groups of a window, some of them a turn."""
        group = self.words.group
        count = self._taps_count // group
        most = max(_UNROLLED_TAPS // group, 1)
        turn = next(n for n in range(most, 0, -1) if count % n == 0)
        body = [stmt for u in range(turn) for stmt in self._group(u)]
        return For(STEP, Imm(0), Imm(count), tuple(body), turn)

    def _group(self, u: int) -> list[Stmt]:
        """One group: every tap meets all filters, then the halves are added."""
        group, filters = self.words.group, self.block.filters
        at = PAIR * self.words.pair_words + STEP * (group + 1) + u * (group + 1)
        weights = BLOCK * (self._taps_count * filters) + (STEP + u) * (group * filters)
        result: list[Stmt] = [Let(Var(f"c_{u}", _U32), Load(self._window(), (at,)))]
        sums: list[Expr] = [Var(f"c_{u}", _U32)] * filters
        for i in range(group):
            pixels = Var(f"x{i}_{u}", _U32)
            result.append(Let(pixels, Load(self._window(), (at + (1 + i),))))
            for f in range(filters):
                weight = Load(self._byte_stream(), (weights + (i * filters + f),))
                more = Var(f"s{i}_{f}_{u}", _U32)
                result.append(Let(more, sums[f] + Cast(_U32, weight) * pixels))
                sums[f] = more
        return [*result, *self._added(sums)]

    def _added(self, sums: Sequence[Expr]) -> list[Stmt]:
        """The sums of a group, added to those of both halves."""
        result: list[Stmt] = []
        for f, total in enumerate(sums):
            whole, second = self._total(f), self._second(f)
            result.append(Store(whole, (), Load(whole) + total))
            result.append(Store(second, (), Load(second) + (Cast(_I32, total) >> 16)))
        return result

    def _halves(self) -> list[Stmt]:
        """The first pixel's sums."""
        result: list[Stmt] = []
        for f in range(self.block.filters):
            upper = Binary("<<", Cast(_U32, Load(self._second(f))), Imm(16, _U32))
            acc = self._acc(0, f)
            result += [Alloc(acc), Store(acc, (), Cast(_I32, Load(self._total(f)) - upper))]
        return result

    def _result(self, p: int, f: int, shift: int) -> list[Stmt]:
        """Pairs of pixels, whatever is stored of them."""
        names = self.w.variables
        inside = {
            names["x"]: PAIR * self.words.lanes + p,
            names["c"]: BLOCK * self.block.filters + (self._first_result() + f),
        }

        def word(i: int) -> Expr:
            return Var(f"constant_{f}_{i}")

        return self.epilogue.result(inside, self._acc(p, f), word, f"{p}_{f}", shift)

    def _function(self, body: tuple[Stmt, ...]) -> Function:
        b = self.block
        about = (
            f"{b.pixels} pixels x {b.filters} filters, {self._taps_count} taps in groups of "
            f"{self.words.group}, weights as bytes plus {OFFSET}."
        )
        inputs, outputs = self.epilogue.parameters()
        name = f"{self.words.stem}{b.pixels}x{b.filters}_{self._taps_count}"
        parameters = (self._window(), self._byte_stream(), self._weights(), *inputs)
        return Function(
            name,
            parameters,
            outputs,
            self.epilogue.resized(body),
            comment=(about,),
            scalars=(COUNT,),
        )
