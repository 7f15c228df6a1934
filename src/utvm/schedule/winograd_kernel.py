"""A convolution by Winograd's algorithm: the whole kernel.

In: an unscheduled kernel and the module's constants. Out: the kernel, which takes two rows of
results at a time: it copies their rows of pixels with the padding, transforms them tile by tile
and multiplies; or None where the kernel is of another shape. There are fewer products, but a weight
for each of them (3x3: 3.6 times the bytes): in flash, or, ``expanded`` at each run, in RAM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from utvm.ir.dtype import DType, dtype_of
from utvm.ir.loop import (
    Binary,
    Buffer,
    Expr,
    Function,
    If,
    Imm,
    Invoke,
    Let,
    Load,
    Pointer,
    Stmt,
    Store,
    Var,
    all_of,
    loop,
)
from utvm.ir.rewrite import simplify_body
from utvm.schedule.conv_kernel import Scheduled, plain_schedule
from utvm.schedule.fill import blank, copy, copy_pixels, fills_of
from utvm.schedule.unbiased import sum_without_bias
from utvm.schedule.weighted_sum import Array, WeightedSum, known_bias, read_weighted_sum
from utvm.schedule.winograd_block import DEFAULT, MultiplyBuilder, WinogradSchedule, fits_words
from utvm.schedule.winograd_tiles import (
    Tiles,
    expandable,
    filter_parts,
    is_winograd,
    tiles_of,
    tiles_on_end,
    tiles_together,
    whole_channels,
)
from utvm.schedule.winograd_transform import TransformBuilder, tile_of, weights_micro


def schedule_winograd(
    function: Function,
    constants: Mapping[str, Array],
    schedule: WinogradSchedule = DEFAULT,
) -> Scheduled | None:
    """The kernel by Winograd's algorithm, or None."""
    w = read_weighted_sum(function, constants)
    if w is None or not is_winograd(w):
        return None
    # Sums are too large by the scale: a shift that takes it out is none.
    w, constants = sum_without_bias(w, constants, free=tile_of(w).scale)
    w, biases = whole_channels(w), known_bias(w.bias, w.filters, constants)
    if biases is None or not fits_words(w, biases):
        return None
    if schedule.expanded and not expandable(w, schedule):
        return None
    tiles, shares = tiles_of(w, schedule), filter_parts(w, schedule)
    parts: list[_Part] = []
    for width in dict.fromkeys((tiles.block, 1)):
        if width == 1 and tiles.block > 1 and (tiles.first + tiles.last) % tiles.block == 0:
            continue
        for first, count, own in shares:
            more = first + count < w.filters
            builder = MultiplyBuilder(w, width, biases, constants, own, first, count, more)
            micro = builder.build()
            if micro is None:
                return None
            parts.append(_Part(width, builder, micro))
    made = _Kernel(w, parts, schedule, tiles).build()
    return plain_schedule(made) if schedule.plain else made


@dataclass(frozen=True, eq=False)
class _Part:
    """The micro function that takes ``tiles`` tiles at a time."""

    tiles: int
    builder: MultiplyBuilder
    micro: Function


@dataclass(frozen=True, eq=False)
class _Kernel:
    """Two rows of results at a time: rows of pixels, the values of some tiles, their results."""

    w: WeightedSum
    parts: list[_Part]
    schedule: WinogradSchedule
    tiles: Tiles

    @property
    def chunk(self) -> int:
        """Tiles that are transformed at a time."""
        return tiles_on_end(self.w, self.schedule)

    @property
    def transform(self) -> TransformBuilder:
        return TransformBuilder(self.w, self.line, tiles_together(self.w, self.schedule))

    @property
    def _tile(self) -> int:
        """Values of a tile."""
        return len(tile_of(self.w).products) * self.w.depth

    @property
    def line(self) -> int:
        """Bytes of a row of pixels with its padding."""
        return ((self.w.columns - 1) * self.w.strides[1] + self.w.window[1]) * self.w.depth

    @property
    def rows(self) -> int:
        """Rows of pixels of a tile."""
        return tile_of(self.w).rows.extent

    @property
    def lines(self) -> Buffer:
        return Buffer("lines", self.w.source.dtype, (self.rows * self.line,), "workspace")

    @property
    def values(self) -> Buffer:
        most = max(self.chunk, self.tiles.last)
        return Buffer("values", DType.INT16, ((most + 1) * self._tile,), "workspace")

    @property
    def sums(self) -> tuple[Buffer, ...]:
        """A buffer for sums that have no room between the values."""
        if not any(part.builder.apart for part in self.parts):
            return ()
        size = len(tile_of(self.w).sums) * self.schedule.tiles * self.schedule.filters
        return (Buffer("sums", DType.INT32, (size,), "workspace"),)

    def build(self) -> Scheduled:
        w = self.w
        data, first_of_all, own = self._constants()
        n, strip = Var("n"), Var("strip")
        twice = w.rows % 2 == 1
        y = Var("row") if twice else strip * 2
        begin = (Let(Var("row"), Binary("min", strip * 2, Imm(w.rows - 2))),) if twice else ()
        row = (*begin, *_copy(w, self.lines, self.rows, n, y * w.strides[0]), *self._row(y))
        whole: tuple[Stmt, ...] = ()
        if w.padded or w.depth > w.pixel_pitch:
            whole = (blank(self.lines, Imm(0), w.padding, 1, self.lines.elements),)
        rows = loop(strip, -(-w.rows // 2), *row)
        body = simplify_body((*first_of_all, loop(n, w.image[0], *whole, rows)))
        operands = (o for part in self.parts for o in part.builder.epilogue.operands.values())
        tables = {operand.buffer.name for operand in operands}
        kept = tuple(b for b in w.function.constants if b.name in tables)
        function = replace(
            w.function,
            body=body,
            workspace=(self.values, *self.sums, self.lines, *own),
            constants=(*(Buffer(k, dtype_of(a), a.shape, "const") for k, a in data.items()), *kept),
        )
        width = self.parts[0].builder.filters
        expand = (weights_micro(w, width),) if self.schedule.expanded else ()
        micros = (
            self.transform.build(),
            *expand,
            *(part.micro for part in self.parts),
        )
        return Scheduled(function, (*micros, *fills_of(body)), data)

    def _stream(self, builder: MultiplyBuilder) -> Buffer:
        """The weights and constants of some filters: offline, or in RAM at run time."""
        words = builder.block_words * (builder.count // builder.filters)
        if self.schedule.expanded:
            return Buffer("stream", DType.INT32, (words,), "workspace")
        name = f"{self.w.function.name}_stream{'_tail' if builder.first else ''}"
        return Buffer(name, DType.INT32, (words,), "const")

    def _constants(self) -> tuple[dict[str, Array], tuple[Stmt, ...], tuple[Buffer, ...]]:
        """Arrays by name, what is done with them before all else, and memory for that."""
        builders = [part.builder for part in self.parts]
        if not self.schedule.expanded:
            return {self._stream(b).name: b.stream() for b in builders}, (), ()
        stream = self._stream(builders[0])
        arrays, body = _expansion(self.w, builders[0], stream)
        return arrays, body, (stream,)

    def _row(self, y: Expr) -> tuple[Stmt, ...]:
        """Results of rows ``y`` and ``y + 1``."""
        chunk, last = Var("chunk"), self.tiles.last
        full, rest = divmod(self.tiles.first, self.chunk)
        row: tuple[Stmt, ...] = (
            loop(chunk, full, *self._tiles(y, chunk * (2 * self.chunk), self.chunk)),
        )
        if rest:
            row += self._tiles(y, Imm(2 * full * self.chunk), rest)
        if last:
            row += self._tiles(y, Imm(self.w.columns - 2 * last), last)
        return row

    def _tiles(self, y: Expr, x: Expr, count: int) -> tuple[Stmt, ...]:
        """``count`` tiles of a strip, whose first result is in column ``x``."""
        w, tile = self.w, self._tile
        pixels = Pointer(self.lines, x * (w.strides[1] * w.depth))
        turns = Imm(count // self.transform.unroll)
        arguments = pixels, Pointer(self.values, Imm(tile))
        calls = [Invoke(self.transform.name, arguments, (turns,))]
        done = 0
        for part in self.parts:
            whole = (count - done) // part.tiles
            if whole == 0:
                continue
            pointers = [Pointer(self._stream(part.builder), Imm(0))]
            results: list[Pointer] = []
            for operand in part.builder.epilogue.operands.values():
                offset = operand.outer + (x + 2 * done) * operand.step("x")
                offset = offset + y * operand.step("y")
                pointer = Pointer(operand.buffer.view(operand.buffer.elements), offset)
                (results if operand.buffer.scope == "output" else pointers).append(pointer)
            room = tuple(Pointer(b, Imm(0)) for b in self.sums if part.builder.apart)
            places = (*pointers, *results, Pointer(self.values, Imm(done * tile)), *room)
            calls.append(Invoke(part.micro.name, places, (Imm(whole),)))
            if not part.builder.more:
                done += whole * part.tiles
        return tuple(calls)


def _expansion(
    w: WeightedSum, builder: MultiplyBuilder, stream: Buffer
) -> tuple[dict[str, Array], tuple[Stmt, ...]]:
    """Weights and constants of the rescale by name, and what makes the stream of them."""
    name = w.function.name
    words, filters = builder.block_words, builder.filters
    blocks = w.filters // filters
    taps = np.ascontiguousarray(w.weights.reshape(-1).astype(np.int8))
    rescale = builder.rescale().reshape(-1)
    arrays: dict[str, Array] = {f"{name}_taps": taps, f"{name}_rescale": rescale}
    sources = [Buffer(k, dtype_of(a), a.shape, "const") for k, a in arrays.items()]
    block, i = Var("block"), Var("i")
    per_block = len(rescale) // blocks
    pointers = (
        Pointer(sources[0], block * (len(taps) // blocks)),
        Pointer(stream, block * words),
    )
    word = Load(sources[1], (block * per_block + i,))
    copy = Store(stream, (block * words + (words - per_block) + i,), word)
    expand = Invoke(weights_micro(w, filters).name, pointers, (Imm(filters),))
    return arrays, (loop(block, blocks, expand, loop(i, per_block, copy, parallel=True)),)


def _copy(w: WeightedSum, lines: Buffer, rows: int, n: Expr, y: Expr) -> tuple[Stmt, ...]:
    """``rows`` rows of pixels from row ``y`` of the padded image on."""
    _, height, width, depth = w.image
    top, left = w.origin
    ky = Var("ky")
    row = y + ky - top
    size = lines.elements // rows
    count = min(width * depth, size - left * depth)
    source = w.source.view(w.source.elements)
    to = ky * size + left * depth
    pixel = w.pixel_pitch
    pointer = Pointer(source, (n * height + row) * (width * pixel))
    if pixel == depth:
        inside = copy(pointer, lines, to, count)
    else:
        inside = copy_pixels(pointer, lines, to, count // depth, pixel)
    if top == 0 and (w.rows - 1) * w.strides[0] + w.window[0] <= height:
        return (loop(ky, rows, inside),)
    outside = blank(lines, to, w.padding, 1, count)
    condition = all_of(Binary(">=", row, Imm(0)), Binary("<", row, Imm(height)))
    return (loop(ky, rows, If(condition, (inside,), (outside,))),)
