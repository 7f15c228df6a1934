"""Pixels as words: two neighbours of a row in each, for cores that multiply words only.

In: a weighted sum of int8. Out: how its pixels lie as words, and the micro function that makes
them. A word is a + b * 2^16 for pixels a and b, so one multiplication by a weight makes two
products. Words whose weights are small enough are summed before the halves are taken apart:

    group of G taps:  [ C, X_0, ..., X_G-1 ]        X_i = a_i + b_i * 2^16
                      C + sum((w_i + 128) * X_i) = 2^15 + sum(w_i * a_i) + 2^16 * sum(w_i * b_i)

C, which is 2^15 - 128 * sum(X_i), makes weights of unsigned bytes possible, which load with an
offset, and the lower half not negative, so that a shift takes the upper one. All of it is modulo
2^32 and exact as long as no half leaves 16 bits; that is checked on the weights.

Where windows overlap, columns of the image are words once (``shared``); else each pair of pixels
has words of its own, row by row of its window.
"""

from __future__ import annotations

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
from utvm.schedule.weighted_sum import Array, WeightedSum

HALF = 1 << 15
OFFSET = 128
"""What makes weights unsigned."""
GROUPS = (16, 9, 8, 6, 5, 4, 3, 2, 1)
"""Sizes of groups; so many weights load with a short offset."""
_U32, _I32 = DType.UINT32, DType.INT32

COUNT, PARTS, STEP, LANE, PITCH = (Var(n) for n in ("count", "parts", "step", "lane", "pitch"))


@dataclass(frozen=True)
class PairLayout:
    """Words of pixels: a unit is ``unit`` bytes of a row of the image, in groups of ``group``; a
    window is ``units`` of them by ``rows``; the next pair of pixels begins ``advance`` units on.
    ``apart``: bytes of the image from one unit to the next, ``lane`` to the second pixel."""

    group: int
    unit: int
    units: int
    rows: int
    advance: int
    apart: int
    lane: int
    lanes: int = 2
    """Pixels of a word."""

    @property
    def stem(self) -> str:
        """What micro functions on such words are called."""
        return "pair" if self.lanes > 1 else "quad"

    @property
    def unit_words(self) -> int:
        """Words of a unit of one row."""
        return self.unit // self.group * (self.group + 1)

    @property
    def column_words(self) -> int:
        """Words of a unit of all rows of a window."""
        return self.rows * self.unit_words

    @property
    def window_words(self) -> int:
        return self.units * self.column_words

    @property
    def pair_words(self) -> int:
        """Words from one pair's window to the next one's."""
        return self.advance * self.column_words

    @property
    def shared(self) -> bool:
        return self.units > 1

    def filled(self, pairs: int) -> int:
        """Units that so many pairs need."""
        return (pairs - 1) * self.advance + self.units

    def words(self, pairs: int) -> int:
        return self.filled(pairs) * self.column_words


def pair_layout(w: WeightedSum) -> PairLayout | None:
    """The layout with the largest groups, of single pixels where there is one column; None where
    windows or weights are of another kind."""
    plain = w.column_step == 1 and w.pixel_pitch == w.depth and w.first_channel == 0
    if not (plain and w.narrow and w.source.dtype is DType.INT8):
        return None
    (kh, kw), stride = w.window, w.strides[1]
    lane = stride * w.depth
    if w.columns == 1:
        unit = kw * w.depth
        return PairLayout(group_of(w, unit), unit, 1, kh, 1, lane, 0, lanes=1)
    shared = kw > 2 * stride and group_of(w, w.depth) > 1
    unit = w.depth if shared else kw * w.depth
    group = group_of(w, unit)
    if shared:
        return PairLayout(group, unit, kw, kh, 2 * stride, w.depth, lane)
    return PairLayout(group, unit, 1, kh, 1, 2 * lane, lane)


def group_of(w: WeightedSum, unit: int) -> int:
    """The largest group that divides a unit and whose sums fit 16 bits, for all filters."""
    taps = w.weights.astype(np.int64).reshape(-1)
    for group in GROUPS:
        if unit % group == 0 and _fits(taps.reshape(-1, group)):
            return group
    return 1


def _fits(groups: Array) -> bool:
    """Whether no sum of pixels times the weights of a row leaves 16 bits."""
    above, below = np.maximum(groups, 0).sum(axis=1), np.maximum(-groups, 0).sum(axis=1)
    highest, lowest = 127 * above + 128 * below, 128 * above + 127 * below
    return bool(highest.max() < HALF and lowest.max() <= HALF)


def window_taps(w: WeightedSum, layout: PairLayout) -> Array:
    """Weights [filters, taps] in the order of the words of a window."""
    weights = w.weights.astype(np.int16)
    order = (0, 2, 1, 3) if layout.shared else (0, 1, 2, 3)
    return weights.transpose(order).reshape(len(weights), -1)


def pair_micro(layout: PairLayout) -> Function:
    """Makes the words of ``count`` units of a row: of ``parts`` groups each."""
    group, pairs = layout.group, layout.lanes > 1
    turn, part = Var("turn"), Var("part")
    reach = Buffer("x", DType.INT8, (group,), "input")
    words = Buffer("words", _U32, (group + 1,), "output")
    total = Buffer("total", _U32, (), "register")
    at = turn * STEP + part * group
    to = turn * PITCH + part * (group + 1)
    body: list[Stmt] = [Alloc(total)]
    for i in range(group):
        first, second, both = (Var(f"{name}_{i}", _U32) for name in ("first", "second", "both"))
        body.append(Let(first, _word(Load(reach, (at + i,)))))
        if pairs:
            body.append(Let(second, _word(Load(reach, (at + LANE + i,)))))
        body.append(Let(both, first + _shifted(second, 16) if pairs else first))
        body.append(Store(words, (to + (1 + i),), both))
        body.append(Store(total, (), both if i == 0 else Load(total) + both))
    whole: Expr = Load(total) if pairs else Load(total) + _shifted(Load(total), 16)
    less = Imm(HALF, _U32) - _shifted(whole, 7)
    body.append(Store(words, (to,), less))
    inner = For(part, Imm(0), PARTS, tuple(body))
    return Function(
        f"{layout.stem}s_{group}",
        (reach,),
        (words,),
        simplify_body((For(turn, Imm(0), COUNT, (inner,)),)),
        comment=(f"Pixels as words, {layout.lanes} each, in groups of {group} with a constant.",),
        scalars=(COUNT, PARTS, STEP, *((LANE,) if pairs else ()), PITCH),
    )


def _word(pixel: Expr) -> Expr:
    return Cast(_U32, Cast(_I32, pixel))


def _shifted(value: Expr, amount: int) -> Expr:
    return Binary("<<", value, Imm(amount, _U32))
