"""Register blocks that read an image as it is: bytes become int16 in registers.

In: a weighted sum whose windows lie inside of an image, or of a copy between padding. Out: the
micro functions that compute on it. A window is kh rows, each of them contiguous. Where filters are
few, what a line buffer costs is not shared by enough of them, and so each word is expanded by the
block that needs it.

    for pair: for block: acc[p, f] = bias[f]
              for row: for k: x[p] = word of the image;  lower, upper = sxtb16(x[p]), ...
                              acc[p, f] = smlad(lower, weights[f], acc[p, f]), ...
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Buffer, Call, Expr, For, Function, Imm, Let, Load, Stmt, Var
from utvm.schedule.conv_block import MOST_UNROLLED, PAIR, STEP, BlockBuilder
from utvm.schedule.weighted_sum import Array, WeightedSum
from utvm.schedule.window_layout import GROUPED

_ROW = Var("row")
_MOST_WORDS = 8
"""Words of a row of a window that are unrolled without a loop around them."""


@dataclass(frozen=True)
class RawRows:
    """Where windows lie, in elements: ``rows`` of ``segment`` elements, ``pitch`` from one to the
    next; ``step`` from one pixel's window to the next one's."""

    rows: int
    segment: int
    pitch: int
    step: int

    def merged(self) -> RawRows:
        """Rows that touch are one."""
        if self.rows > 1 and self.pitch == self.segment:
            return replace(self, rows=1, segment=self.rows * self.segment)
        return self


def lanes_of(w: WeightedSum) -> int:
    """Elements of a word of the image."""
    return 32 // w.source.dtype.bits


def copied_line(w: WeightedSum) -> int:
    """Elements of a row of the copy between padding, as far as windows see it; 0: no copy."""
    return ((w.columns - 1) * w.strides[1] + w.window[1]) * w.depth if w.padded else 0


def has_raw(w: WeightedSum) -> bool:
    """Whether windows are whole words of the image, or of a copy that is made of whole words."""
    if not w.padded:
        return raw_rows(w) is not None
    whole = w.depth % lanes_of(w) == 0 and w.pixel_pitch == w.depth and w.column_step == 1
    inside = 0 <= w.origin[1] * w.depth < copied_line(w)
    return whole and inside and raw_rows(w) is not None


def raw_rows(w: WeightedSum) -> RawRows | None:
    """How windows lie in the image or its copy; None where they are no whole words."""
    (kh, kw), line = w.window, copied_line(w)
    pixel = w.depth if line else w.pixel_pitch
    pitch = line or w.image[2] * pixel * w.row_dilation
    found = RawRows(kh, kw * w.depth, pitch, w.strides[1] * pixel)
    contiguous = kw == 1 or (w.column_step == 1 and pixel == w.depth)
    starts = (w.first_channel, pixel * w.origin[1], w.image[2] * pixel)
    sizes = (found.segment, found.step if w.columns > 1 else 0, *(() if line else starts))
    sizes = (*sizes, found.pitch if kh > 1 else 0)
    return found if contiguous and all(n % lanes_of(w) == 0 for n in sizes) else None


@dataclass
class RawBuilder(BlockBuilder):
    """Makes the micro function for filters [first, first + filters) of a kernel."""

    def places(self) -> RawRows:
        return self.rows.merged()

    @property
    def rows(self) -> RawRows:
        found = raw_rows(self.w)
        assert found is not None
        return found

    def _word_steps(self) -> int:
        return self.w.weights.size // self.w.filters // 2

    def _taps(self, turn: int) -> Array:
        """Row by row of a window, each in the order in which bytes become halfwords."""
        w = self.w
        turned = np.roll(w.weights, turn * gcd(w.window[0], w.strides[0]), axis=1)
        taps = turned.reshape(w.filters, -1).astype(np.int16)
        if w.source.dtype.bits == 16:
            return taps
        return taps.reshape(len(taps), -1, 4)[..., GROUPED].reshape(len(taps), -1)

    def _window(self) -> Buffer:
        at = self.rows
        reach = (self.block.pixels - 1) * at.step + (at.rows - 1) * at.pitch + at.segment
        return Buffer("x", self.w.source.dtype, (reach,), "input")

    @property
    def _looped(self) -> bool:
        return self._word_steps() > MOST_UNROLLED

    @property
    def _ahead(self) -> int:
        return 0

    def _sums(self, steps: int) -> list[Stmt]:
        """Row by row; words in a loop where a row has many."""
        at, lanes = self.places(), lanes_of(self.w)
        words, many = at.segment // lanes, max(self.block.steps * 2 // lanes, 1)
        if not self._looped:
            pairs = [(row, word) for row in range(at.rows) for word in range(words)]
            return [s for row, word in pairs for s in self._words(Imm(row), None, word, row)]
        if words <= _MOST_WORDS:
            body = [s for word in range(words) for s in self._words(_ROW, None, word, 0)]
        else:
            whole = words - words % many
            turn = [s for word in range(many) for s in self._words(_ROW, STEP, word, 0)]
            body = [For(STEP, Imm(0), Imm(whole), tuple(turn), many)]
            for word in range(whole, words):
                body += self._words(_ROW, None, word, 0)
        return [For(_ROW, Imm(0), Imm(at.rows), tuple(body))]

    def _words(self, row: Expr, k: Expr | None, word: int, number: int) -> list[Stmt]:
        """A word of all pixels against all filters: one of a row, ``k`` words later."""
        b, at, lanes = self.block, self.places(), lanes_of(self.w)
        halves = lanes // 2
        result: list[Stmt] = []
        ahead: Expr = row * (at.segment // 2)
        if k is not None:
            ahead = ahead + k * halves
        later = ahead if self._looped else None
        first = halves * (word + (0 if self._looped else number * (at.segment // lanes)))
        for p in range(b.pixels):
            index = PAIR * (b.pixels * at.step) + row * at.pitch
            if k is not None:
                index = index + k * lanes
            load = Load(self._window(), (index + (p * at.step + lanes * word),), lanes)
            if halves == 1:
                result.append(Let(Var(f"x{p}_{first}"), load))
                continue
            both = Var(f"x{p}_{first}_both")
            result.append(Let(both, load))
            name = "sxtb16" if self.w.source.dtype.is_signed else "uxtb16"
            for half, suffix in enumerate(("", "_ror8")):
                value = Call(f"{name}{suffix}", (both,), DType.INT32)
                result.append(Let(Var(f"x{p}_{first + half}"), value))
        for u in range(first, first + halves):
            for f in range(b.filters):
                weight = Var(f"w{f}_{u}")
                result += self._weight(weight, f, u, later)
                result += self._products(weight, f, u, first=not self._looped and u == 0)
        return result

    def _function(self, body: tuple[Stmt, ...]) -> Function:
        made = super()._function(body)
        about = f"{made.comment[0].removesuffix('.')}, from the image itself."
        return replace(made, name=made.name.replace("conv", "raw", 1), comment=(about,))
