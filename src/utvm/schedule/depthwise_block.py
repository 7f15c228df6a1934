"""The micro function of a depthwise convolution: several columns of one channel at a time.

In: the geometry, and planes that hold each channel's lines as int16, so that a word is two
neighbouring pixels of one channel. Out: a micro function that walks channels, rows and blocks of
columns, and its stream of constants. Where both parities of columns occur, two sets of words serve
all taps of a row:  E = (w0 w1)(w2 w3)...,  O = (w1 w2)(w3 w4)...

    columns that begin in the lower half of a word:  smlad(p0, E0), ..., smlabt(pm, O last)
    columns that begin in the upper half:            smlatb(p0, E0), smlad(p1, O0), ...

Layers may share it: then sizes of planes, strides of the result, blocks of a row and numbers of the
rescale are scalars.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Alloc, Buffer, Call, Expr, For, Function, Imm, Let, Load, Stmt, Store, Var
from utvm.ir.rewrite import Linear, simplify_body
from utvm.schedule.depthwise_sum import DepthwiseSum
from utvm.schedule.epilogue import Epilogue, Sharing
from utvm.schedule.unbiased import RAISED
from utvm.schedule.weighted_sum import Array, folded_shift
from utvm.schedule.window_layout import pair_words, quad_words

CHANNELS, ROWS = Var("channels"), Var("rows")
_CHANNEL, _FILTER, _ROW, _GROUP = Var("channel"), Var("filter"), Var("row"), Var("group")
_PITCH, _PLANE, _MORE = Var("pitch"), Var("plane"), Var("more")
_OUT_COLUMN = Var("out_column")
Tap = tuple[int, str, int]
"""Word of pixels from the block's first, instruction, word of weights."""


@dataclass(frozen=True)
class PlaneLayout:
    """``lines`` x ``columns`` int16 per channel, columns even; pixel 0 of a window that begins at
    column 0 of the results lies at ``shift``, 0 or 1, so that the image begins at a word."""

    lines: int
    columns: int
    shift: int

    @property
    def elements(self) -> int:
        return self.lines * self.columns


@dataclass
class DepthwiseBuilder:
    """Makes the micro function; ``width`` columns make a block. ``wide`` weights are int16 in
    flash, else int8. ``shared``: layers share it. ``raised``: pixels are shifted left."""

    w: DepthwiseSum
    layout: PlaneLayout
    width: int
    biases: Array
    constants: Mapping[str, Array]
    shared: bool = False
    wide: bool = True
    raised: bool = False
    epilogue: Epilogue = field(init=False)

    def __post_init__(self) -> None:
        w = self.w
        terms = [("c", w.multiplier)] + ([("m", 1)] if w.multiplier > 1 else [])
        row, column = w.axes
        last = {row: 0, column: w.columns - 1, "c": 0, "m": w.multiplier - 1}
        self.epilogue = Epilogue(
            w.epilogue,
            w.acc,
            w.filters,
            Linear(0, tuple(sorted(terms))),
            last,
            frozenset(("n", "y", "x", "c", "m")),
            sharing=self._sharing() if self.shared else None,
        )

    def _sharing(self) -> Sharing:
        w = self.w
        # A row ends where the next one begins.
        row = _OUT_COLUMN * (_MORE * self.width + self.width)
        return Sharing(
            {
                (w.axes[1], w.filters): _OUT_COLUMN,
                (w.axes[0], w.columns * w.filters): row,
            }
        )

    def numbers(self) -> tuple[int, ...]:
        """What a kernel passes behind channels and rows."""
        if not self.shared:
            return ()
        w, layout = self.w, self.layout
        more = w.columns // self.width - 1
        places = (layout.columns, layout.elements, more, w.filters)
        return (*places, *self.epilogue.numbers.values())

    def build(self) -> tuple[Function, np.ndarray] | None:
        """The micro function and its stream; None where the epilogue cannot be taken over."""
        whole, rest = divmod(self.w.columns, self.width)
        assert rest == 0 or not self.shared
        body: tuple[Stmt, ...] = ()
        if whole:
            block = tuple(self._block(_GROUP * self.width, 0, self.width))
            stop = _MORE + 1 if self.shared else Imm(whole)
            body += (For(_GROUP, Imm(0), stop, block),)
        if rest:
            body += tuple(self._block(Imm(0), whole * self.width, rest))
        if not self.epilogue.legal:
            return None
        body = (For(_ROW, Imm(0), ROWS, body),)
        body = (For(_FILTER, Imm(0), Imm(self.w.multiplier), body),)
        body = simplify_body((For(_CHANNEL, Imm(0), CHANNELS, body),))
        return self._function(body), self._stream()

    # Taps and weights.

    def _parities(self) -> set[int]:
        step = self.w.strides[1]
        return {(self.layout.shift + x * step) % 2 for x in range(min(2, self.w.columns))}

    def _shares_words(self) -> bool:
        """Whether both sets of words serve columns of both parities."""
        return self._parities() == {0, 1} and self.w.window[1] % 2 == 1 and self.w.window[1] > 1

    def words_per_row(self) -> int:
        """Words of two taps."""
        kw, parities = self.w.window[1], self._parities()
        if self._shares_words():
            return kw - 1
        return sum((kw + parity + 1) // 2 for parity in parities)

    @property
    def row_words(self) -> int:
        """Words of the stream for a row of the window."""
        words = self.words_per_row()
        return words if self.wide else -(-words // 2)

    def taps(self, parity: int) -> list[Tap]:
        """How the taps of one row of the window are summed, for a column of this parity."""
        kw = self.w.window[1]
        if not self._shares_words():
            first = 0 if parity == min(self._parities()) else (kw + 1) // 2
            return [(j, "smlad", first + j) for j in range((kw + parity + 1) // 2)]
        half = kw // 2
        if parity == 0:
            return [(j, "smlad", j) for j in range(half)] + [(half, "smlabt", 2 * half - 1)]
        return [(0, "smlatb", 0)] + [(j + 1, "smlad", half + j) for j in range(half)]

    def _row_words(self, rows: np.ndarray) -> np.ndarray:
        """The stream's words for rows of ``kw`` weights, the last axis."""
        taps = self._row_taps(rows)
        if self.wide:
            return pair_words(taps)
        pairs = _padded(taps, 2 * (self.words_per_row() % 2))
        return quad_words(pairs.reshape(*pairs.shape[:-1], -1, 2, 2))

    def _row_taps(self, rows: np.ndarray) -> np.ndarray:
        """The rows' taps, two for each word, in the order that ``taps`` counts."""
        if self._shares_words():
            return np.concatenate([rows[..., :-1], rows[..., 1:]], axis=-1)
        kw = rows.shape[-1]
        parts = [_padded(rows, (parity + kw) % 2, parity) for parity in sorted(self._parities())]
        return np.concatenate(parts, axis=-1)

    def _stream(self) -> np.ndarray:
        """Per filter: bias if there is one, weights row by row, constants of the rescale."""
        filters = self.w.filters
        per_filter = self.epilogue.streamed(self.constants)
        by_weights = self._shift - RAISED if self.raised else self._shift
        weights = self._row_words(self.w.weights << by_weights).reshape(filters, -1)
        biases = (self.biases << self._shift).reshape(filters, 1)[:, : self._begin]
        columns = [biases, weights, *(data.reshape(filters, 1) for data in per_filter)]
        return np.concatenate(columns, axis=1).astype(np.int32).reshape(-1)

    @property
    def filter_words(self) -> int:
        """Words of the stream per filter."""
        rows = self.w.window[0] * self.row_words
        return self._begin + rows + len(self.epilogue.per_filter)

    @cached_property
    def _begin(self) -> int:
        """Words of a filter in front of its weights."""
        return 1 if self.biases.any() else 0

    @cached_property
    def _shift(self) -> int:
        """How far left weights and biases are shifted, so that the epilogue need not shift sums;
        with ``raised`` pixels, these and weights."""
        w = self.w
        if self.raised:
            return self.epilogue.left_shift
        if not self.wide:
            return 0
        return folded_shift(self.epilogue.left_shift, w.weights, w.source.dtype, self.biases)

    def _rescale_word(self, i: int) -> Load:
        """Constant ``i`` of the filter's epilogue."""
        return self._weight(self._begin + self.w.window[0] * self.row_words + i)

    # Loads.

    def _weight(self, at: int) -> Load:
        w = self.w
        channel: Expr = _CHANNEL * (w.multiplier * self.filter_words)
        index = channel + _FILTER * self.filter_words + at
        words = w.multiplier * self.filter_words
        return Load(Buffer("w", DType.INT32, (words,), "input"), (index,))

    def _planes(self) -> Buffer:
        elements = 2 if self.shared else self.layout.elements
        return Buffer("x", DType.INT16, (elements,), "input")

    def _pixels(self, column: Expr, ky: int, at: int) -> Load:
        """Two pixels of window row ``ky``, ``at`` elements behind where ``column`` begins."""
        w, layout = self.w, self.layout
        plane: Expr = Imm(layout.elements)
        pitch: Expr = Imm(layout.columns)
        if self.shared:
            plane, pitch = _PLANE, _PITCH
        index = _CHANNEL * plane + _ROW * w.strides[0] * pitch
        index = index + pitch * (ky * w.row_dilation) + column * w.strides[1] + at
        return Load(self._planes(), (index,), 2)

    # One block.

    def _block(self, column: Expr, first: int, width: int) -> list[Stmt]:
        """The results of ``width`` columns from ``column + first`` on."""
        w = self.w
        # A block that begins at an odd column reads from the word before.
        start = self.layout.shift + first * w.strides[1]
        begin = start - start % 2
        offsets = [start % 2 + x * w.strides[1] for x in range(width)]
        kh, _ = w.window
        accs = [Buffer(f"acc{first}_{x}", DType.INT32, (), "register") for x in range(width)]
        result: list[Stmt] = [Alloc(acc) for acc in accs]
        if self._begin:
            bias = Var(f"bias{first}")
            result += [Let(bias, self._weight(0)), *(Store(acc, (), bias) for acc in accs)]
        for ky in range(kh):
            result += self._row(column, first, begin, ky, offsets, accs)
        words = [Var(f"constant{first}_{i}") for i in range(len(self.epilogue.per_filter))]
        result += [Let(var, self._rescale_word(i)) for i, var in enumerate(words)]
        for x, acc in enumerate(accs):
            across = column + (first + x)
            inside = {w.axes[0]: _ROW, w.axes[1]: across, "c": _CHANNEL, "m": _FILTER}
            if w.multiplier == 1:
                del inside["m"]
            tag = f"{first}_{x}"
            result += self.epilogue.result(inside, acc, words.__getitem__, tag, self._shift)
        return result

    def _row(
        self, column: Expr, first: int, begin: int, ky: int, offsets: list[int], accs: list[Buffer]
    ) -> list[Stmt]:
        """All taps of one row of the window, pixel by pixel, so that each is loaded once."""
        tag = f"{first}_{ky}"
        begun = set(accs) if self._begin or ky else set()
        taps = [
            (offset // 2 + word, name, weight, acc)
            for offset, acc in zip(offsets, accs, strict=True)
            for word, name, weight in self.taps(offset % 2)
        ]
        result = self._weights_of(tag, ky, sorted({weight for _, _, weight, _ in taps}))
        for pixel in sorted({pixel for pixel, _, _, _ in taps}):
            var = Var(f"p{tag}_{pixel}")
            result.append(Let(var, self._pixels(column, ky, begin + 2 * pixel)))
            for place, name, weight, acc in taps:
                if place == pixel:
                    before = Load(acc) if acc in begun else Imm(0)
                    total = Call(name, (var, Var(f"w{tag}_{weight}"), before), DType.INT32)
                    result.append(Store(acc, (), total))
                    begun.add(acc)
        return result

    def _weights_of(self, tag: str, ky: int, words: list[int]) -> list[Stmt]:
        """Words of two taps of row ``ky`` by name; two of int8 are one word of the stream."""
        result: list[Stmt] = []
        first = self._begin + ky * self.row_words
        loaded: dict[int, Var] = {}
        for j in words:
            own = Var(f"w{tag}_{j}")
            if self.wide:
                result.append(Let(own, self._weight(first + j)))
                continue
            if j // 2 not in loaded:
                loaded[j // 2] = Var(f"both{tag}_{j // 2}")
                result.append(Let(loaded[j // 2], self._weight(first + j // 2)))
            name = "sxtb16_ror8" if j % 2 else "sxtb16"
            result.append(Let(own, Call(name, (loaded[j // 2],), DType.INT32)))
        return result

    def _function(self, body: tuple[Stmt, ...]) -> Function:
        kh, kw = self.w.window
        about = f"{kh}x{kw} depthwise, {self.width} columns of one channel at a time."
        inputs, outputs = self.epilogue.parameters()
        weights = Buffer("w", DType.INT32, (self.w.multiplier * self.filter_words,), "input")
        return Function(
            f"depthwise{kh}x{kw}_{self.width}{'' if self.wide else '_int8'}",
            (self._planes(), weights, *inputs),
            outputs,
            self.epilogue.resized(body),
            comment=(about,),
            scalars=(CHANNELS, ROWS, *self._scalars()),
        )

    def _scalars(self) -> tuple[Var, ...]:
        """The names of ``numbers``."""
        if not self.shared:
            return ()
        places = (_PITCH, _PLANE, _MORE, _OUT_COLUMN)
        return (*places, *map(Var, self.epilogue.numbers))


def _padded(data: np.ndarray, after: int, before: int = 0) -> np.ndarray:
    """``data`` with zeros around its last axis."""
    return np.pad(data, [(0, 0)] * (data.ndim - 1) + [(before, after)])
