"""A convolution or dense layer on words of pixels: the whole kernel.

In: a weighted sum, the module's constants, the knobs. Out: the kernel that makes words of pixels,
some columns of results at a time, and runs micro functions on them; or None where the kernel is not
of that kind. Where windows reach out of the image, its rows are copied between padding first. The
last column of an odd number is a pair with itself, of which one pixel is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from utvm.ir.dtype import DType, dtype_of
from utvm.ir.loop import (
    Binary,
    Buffer,
    Expr,
    For,
    Function,
    If,
    Imm,
    Invoke,
    Load,
    Pointer,
    Stmt,
    Store,
    Var,
    all_of,
    loop,
)
from utvm.ir.rewrite import simplify_body, substitute_expr
from utvm.schedule.conv_block import Block
from utvm.schedule.conv_kernel import Scheduled
from utvm.schedule.pair_block import PairBuilder
from utvm.schedule.pair_layout import pair_layout, pair_micro
from utvm.schedule.quad_block import FILTERS, QuadBuilder
from utvm.schedule.raw_block import copied_line
from utvm.schedule.weighted_sum import Array, WeightedSum
from utvm.schedule.window_layout import WindowLayout

MOST_WORDS = 512
"""Words of pixels that are made at a time, unless one pair needs more."""
_N, _Y, _CHUNK, _KY, _I = Var("n"), Var("y"), Var("chunk"), Var("ky"), Var("i")
_UNUSED = WindowLayout(0, 0, 0, False, "rows", False)


@dataclass(frozen=True)
class PairSchedule:
    """The knobs: filters of a block."""

    filters: int = 2


@dataclass(frozen=True, eq=False)
class _Part:
    """Blocks of some filters of ``pixels`` pixels a pair, with their constants."""

    pixels: int
    builder: PairBuilder
    micro: Function
    words: Buffer
    weights: Buffer


@dataclass
class PairKernel:
    """One weighted sum on pixel pairs."""

    w: WeightedSum
    constants: Mapping[str, Array]
    schedule: PairSchedule

    def build(self) -> Scheduled | None:
        layout = pair_layout(self.w)
        if layout is None:
            return None
        self.layout = layout
        self.made: dict[str, Array] = {}
        parts = self._parts()
        if parts is None:
            return None
        body = simplify_body((loop(_N, self.w.image[0], *self._image(parts)),))
        return self._scheduled(body, parts)

    @property
    def chunk(self) -> int:
        """Pairs whose words are made at a time."""
        whole = self.w.columns // self.layout.lanes
        pairs = whole
        while pairs > 1 and self.layout.words(pairs) > MOST_WORDS:
            pairs -= 1
        return -(-whole // -(-whole // pairs))

    @property
    def words(self) -> Buffer:
        return Buffer("words", DType.UINT32, (self.layout.words(self.chunk),), "workspace")

    @property
    def rows(self) -> Buffer:
        """Rows of the image between padding."""
        elements = self.layout.rows * copied_line(self.w)
        return Buffer("rows", self.w.source.dtype, (elements,), "workspace")

    # Filters.

    def _parts(self) -> list[_Part] | None:
        """Whole blocks of filters, then those that are left; for pairs, and for a last pixel."""
        w, single = self.w, self.layout.lanes == 1
        make = QuadBuilder if single else PairBuilder
        width = min(FILTERS if single else self.schedule.filters, self.w.filters)
        whole = w.filters - w.filters % width
        parts: list[_Part] = []
        for first, filters in ((0, whole), (whole, w.filters - whole)):
            for pixels in dict.fromkeys((self.layout.lanes, 1)) if filters else ():
                if pixels < self.layout.lanes and w.columns % self.layout.lanes == 0:
                    continue
                block = Block(pixels, min(width, filters), False)
                builder = make(w, _UNUSED, block, first, filters, self.constants, self.layout)
                built = builder.built()
                if built is None:
                    return None
                micro, words, weights = built
                tail = "_tail" if first else ""
                buffers = [
                    Buffer(f"{w.function.name}_{kind}{tail}", dtype, (data.size,), "const")
                    for kind, dtype, data in (
                        ("constants", DType.INT32, words),
                        (self.layout.stem, dtype_of(weights), weights),
                    )
                ]
                self.made |= {buffers[0].name: words, buffers[1].name: weights}
                parts.append(_Part(pixels, builder, micro, *buffers))
        return parts

    # Rows and columns.

    def _image(self, parts: list[_Part]) -> tuple[Stmt, ...]:
        w = self.w
        whole, chunk = w.columns // self.layout.lanes, self.chunk
        full, rest = divmod(whole, chunk)
        row: list[Stmt] = []
        if w.padded:
            row.append(self._copied())
        row.append(loop(_CHUNK, full, *self._columns(parts, _CHUNK * chunk, chunk)))
        if rest:
            row += self._columns(parts, Imm(full * chunk), rest)
        if w.columns % self.layout.lanes:
            row += self._columns(parts, Imm(whole), 0)
        body: tuple[Stmt, ...] = (loop(_Y, w.rows, *row),)
        if w.padded:
            blank = Store(self.rows, (_I,), Imm(w.padding, w.source.dtype))
            body = (For(_I, Imm(0), Imm(self.rows.elements), (blank,), parallel=True), *body)
        return body

    def _columns(self, parts: list[_Part], first: Expr, pairs: int) -> tuple[Stmt, ...]:
        """Results of ``pairs`` pairs of columns; of none: those of the last column alone."""
        layout, w = self.layout, self.w
        units = layout.filled(max(pairs, 1))
        scalars = (
            Imm(units),
            Imm(layout.unit // layout.group),
            Imm(layout.apart),
            *((Imm(layout.lane if pairs else 0),) if layout.lanes > 1 else ()),
            Imm(layout.column_words),
        )
        column = first * (self.layout.lanes * w.strides[1])
        to = Pointer(self.words, _KY * layout.unit_words)
        name = pair_micro(layout).name
        fill = Invoke(name, (self._pixels(column), to), scalars)
        pixels = self.layout.lanes if pairs else 1
        calls = [self._call(p, first, max(pairs, 1)) for p in parts if p.pixels == pixels]
        return (loop(_KY, layout.rows, fill), *calls)

    def _pixels(self, column: Expr) -> Pointer:
        """Where row ``ky`` of the windows of row ``y`` begins at a column of the image, counted
        from the padding on."""
        w = self.w
        if w.padded:
            return Pointer(self.rows, _KY * copied_line(w) + column * w.depth)
        _, height, width, depth = w.image
        row = _N * height + _Y * w.strides[0] + _KY * w.row_dilation - w.origin[0]
        at = (row * width + (column - w.origin[1])) * depth
        return Pointer(w.source.view(w.source.elements), at)

    def _copied(self) -> Stmt:
        """The rows of the windows of row ``y`` between padding."""
        w, line = self.w, copied_line(self.w)
        _, height, width, depth = w.image
        left = w.origin[1]
        count = min(width, line // depth - left) * depth
        row = _Y * w.strides[0] + _KY * w.row_dilation - w.origin[0]
        source = w.source.view(w.source.elements)
        value = Load(source, ((_N * height + row) * (width * depth) + _I,))
        to = (_KY * line + left * depth + _I,)
        copied = For(_I, Imm(0), Imm(count), (Store(self.rows, to, value),), parallel=True)
        blank = Store(self.rows, to, Imm(w.padding, w.source.dtype))
        outside = For(_I, Imm(0), Imm(count), (blank,), parallel=True)
        inside = all_of(Binary(">=", row, Imm(0)), Binary("<", row, Imm(height)))
        return loop(_KY, w.window[0], If(inside, (copied,), (outside,)))

    def _call(self, part: _Part, first: Expr, pairs: int) -> Invoke:
        w = self.w
        pointers = [Pointer(buffer, Imm(0)) for buffer in (self.words, part.weights, part.words)]
        results: list[Pointer] = []
        names = {w.variables.get("n", "n"): _N, w.variables.get("y", "y"): _Y}
        for operand in part.builder.epilogue.operands.values():
            offset = operand.outer
            step = operand.step(w.variables["x"])
            if step:
                offset = offset + first * (self.layout.lanes * step)
            offset = substitute_expr(offset, names)
            pointer = Pointer(operand.buffer.view(operand.buffer.elements), offset)
            (results if operand.buffer.scope == "output" else pointers).append(pointer)
        return Invoke(part.micro.name, (*pointers, *results), (Imm(pairs),))

    def _scheduled(self, body: tuple[Stmt, ...], parts: list[_Part]) -> Scheduled:
        w = self.w
        tables = {
            operand.buffer.name: operand.buffer
            for part in parts
            for operand in part.builder.epilogue.operands.values()
            if operand.buffer.scope == "const"
        }
        streams = {b.name: b for part in parts for b in (part.weights, part.words)}
        declared = {b.name: b for b in w.function.constants}
        function = replace(
            w.function,
            body=body,
            workspace=(self.words, *((self.rows,) if w.padded else ())),
            constants=(*streams.values(), *(declared[name] for name in tables)),
        )
        micros = (*(part.micro for part in parts), pair_micro(self.layout))
        return Scheduled(function, micros, self.made)
