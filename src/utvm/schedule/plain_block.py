"""Register blocks without packed words: an element of the image times a weight, one by one.

In: a weighted sum whose windows are rows of neighbours, in the image or in a copy between padding.
Out: the micro function that computes on it and its stream. Every pixel and every weight is a load
of one element, so a tap of ``pixels`` x ``filters`` sums takes pixels + filters loads and
pixels x filters products. It is loop IR for any core: what it needs of one is registers for the
sums, two pointers and two to four operands. Thumb-2's MLA and its loads with sign make the default
blocks of 2 x 4 worth while; a core with fewer registers takes smaller ones.

    for pair: for block: acc[p, f] = bias[f]
              for row: for k: for tap: x[p] = image[...];  w[f] = a byte of the stream
                                       acc[p, f] = acc[p, f] + x[p] * w[f]
              out[p, f] = epilogue(acc[p, f])
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Binary, Buffer, Cast, Expr, For, Function, Imm, Let, Load, Stmt, Store, Var
from utvm.schedule.conv_block import PAIR, STEP, BlockBuilder
from utvm.schedule.raw_block import RawRows
from utvm.schedule.weighted_sum import Array, WeightedSum

I32 = DType.INT32
_ROW = Var("row")
_WORD_BYTES = 4
MOST_TAPS = 16
"""Taps that are unrolled without a loop around them."""
TURN = 4
"""Taps of a turn are a multiple of this, so that the weights of a turn are whole words."""


def line_elements(w: WeightedSum) -> int:
    """Elements of a row of the copy between padding, whole words; 0: no copy."""
    if not w.padded:
        return 0
    lanes = 32 // w.source.dtype.bits
    seen = ((w.columns - 1) * w.strides[1] + w.window[1]) * w.depth
    return -(-seen // lanes) * lanes


def plain_rows(w: WeightedSum) -> RawRows | None:
    """How windows lie in the image or its copy; None where their pixels are no neighbours."""
    (kh, kw), line = w.window, line_elements(w)
    pixel = w.depth if line else w.pixel_pitch
    if w.column_step != 1 or ((kw > 1 or line) and w.pixel_pitch != w.depth):
        return None
    pitch = line or w.image[2] * pixel * w.row_dilation
    return RawRows(kh, kw * w.depth, pitch, w.strides[1] * pixel).merged()


@dataclass
class PlainBuilder(BlockBuilder):
    """Makes the micro function for filters [first, first + filters) of a kernel."""

    @property
    def rows(self) -> RawRows:
        found = plain_rows(self.w)
        assert found is not None
        return found

    # Constants.

    @property
    def _weight_bytes(self) -> int:
        return 2 if self.block.wide else 1

    def _words_of(self, taps: int) -> int:
        """Words that so many taps of a block's filters take."""
        return -(-taps * self.block.filters * self._weight_bytes // _WORD_BYTES)

    @property
    def _row_words(self) -> int:
        return self._words_of(self.rows.segment)

    def _after_sums(self) -> int:
        return self._biases + self.rows.rows * self._row_words

    @property
    def _block_words(self) -> int:
        return self._after_sums() + self.block.filters * len(self.epilogue.per_filter)

    def _stream(self, biases: Array, shift: int, turn: int) -> np.ndarray:
        """Per block: biases, if any, weights row by row, tap by tap, constants of the rescale."""
        b, at = self.block, self.rows
        taps = self.w.weights.reshape(self.w.filters, at.rows, at.segment).astype(np.int64) << shift
        per_filter = self.epilogue.streamed(self.constants)
        parts: list[np.ndarray] = []
        for begin in range(self.first, self.first + self.filters, b.filters):
            own = slice(begin, begin + b.filters)
            parts.append((biases[own] << shift)[: self._biases])
            lines = taps[own].transpose(1, 2, 0).reshape(at.rows, -1)
            lines = lines.astype(np.int16 if b.wide else np.int8)
            room = self._row_words * _WORD_BYTES // self._weight_bytes - lines.shape[1]
            parts.append(np.pad(lines, ((0, 0), (0, room))).view(np.int32).reshape(-1))
            if per_filter:
                parts.append(np.stack([data[own] for data in per_filter], axis=1).reshape(-1))
        return np.concatenate(parts).astype(np.int32)

    # The sums.

    def _window(self) -> Buffer:
        at = self.rows
        reach = (self.block.pixels - 1) * at.step + (at.rows - 1) * at.pitch + at.segment
        return Buffer("x", self.w.source.dtype, (reach,), "input")

    def _word_steps(self) -> int:
        return -(-self.rows.rows * self.rows.segment // 2)

    @property
    def _looped(self) -> bool:
        return self.rows.rows * self.rows.segment > MOST_TAPS

    @property
    def _ahead(self) -> int:
        return 0

    def _sums(self, steps: int) -> list[Stmt]:
        """Row by row; taps in a loop where a row has many."""
        at = self.rows
        if not self._looped:
            taps = [(row, tap) for row in range(at.rows) for tap in range(at.segment)]
            return [s for row, tap in taps for s in self._tap(Imm(row), None, tap, row)]
        many = max(self.block.steps // TURN, 1) * TURN
        turns = at.segment // many
        body: list[Stmt] = []
        if turns > 1:
            turn = [s for tap in range(many) for s in self._tap(_ROW, STEP, tap, 0, many)]
            body = [For(STEP, Imm(0), Imm(turns), tuple(turn))]
        for tap in range(turns * many if turns > 1 else 0, at.segment):
            body += self._tap(_ROW, None, tap, 0)
        return [For(_ROW, Imm(0), Imm(at.rows), tuple(body))]

    def _tap(self, row: Expr, k: Expr | None, tap: int, number: int, many: int = 0) -> list[Stmt]:
        """A tap of all pixels against all filters: one of a row, ``k`` turns of ``many`` later;
        ``number`` is the row where that is known."""
        b, at = self.block, self.rows
        own = f"{number * at.segment + tap}"
        result: list[Stmt] = []
        place = PAIR * (b.pixels * at.step) + row * at.pitch
        ahead: Expr = row * self._row_words
        if k is not None:
            place, ahead = place + k * many, ahead + k * self._words_of(many)
        for p in range(b.pixels):
            pixel = Cast(I32, Load(self._window(), (place + (p * at.step + tap),)))
            result.append(Let(Var(f"x{p}_{own}"), pixel))
        for f in range(b.filters):
            weight = Var(f"w{f}_{own}")
            result.append(Let(weight, self._element(ahead, tap * b.filters + f)))
            first = not self._looped and own == "0"
            # The register of the bias becomes the last pixel's sum.
            for p in reversed(range(b.pixels)) if first else range(b.pixels):
                acc = self._acc(p, f)
                total = self._bias(f) if first else Load(acc)
                result.append(Store(acc, (), total + Var(f"x{p}_{own}") * weight))
        return result

    def _element(self, ahead: Expr, number: int) -> Expr:
        """Weight ``number`` behind word ``ahead`` of the weights, out of its word."""
        lanes = _WORD_BYTES // self._weight_bytes
        index = self._biases + number // lanes
        load = self._word(index)
        word: Expr = replace(load, indices=(load.indices[0] + ahead,))
        if number % lanes:
            word = Binary(">>", word, Imm(number % lanes * 8 * self._weight_bytes))
        return Cast(I32, Cast(DType.INT16 if self.block.wide else DType.INT8, word))

    def _function(self, body: tuple[Stmt, ...]) -> Function:
        made, b, at = super()._function(body), self.block, self.rows
        kind = "int16" if b.wide else "int8"
        about = (
            f"{b.pixels} pixels x {b.filters} filters, {at.rows * at.segment} taps, weights as "
            f"{kind}: biases, weights and constants of the rescale in one stream."
        )
        name = f"plain{b.pixels}x{b.filters}_{at.rows * at.segment}_{kind}"
        return replace(made, name=name, comment=(about,))
