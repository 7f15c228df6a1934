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
    Load,
    Pointer,
    Stmt,
    Store,
    Var,
    all_of,
    loop,
)
from utvm.ir.rewrite import simplify_body
from utvm.schedule.conv_kernel import Scheduled
from utvm.schedule.fill import blank, copy, fills_of
from utvm.schedule.weighted_sum import Array, WeightedSum, known_bias, read_weighted_sum
from utvm.schedule.winograd_algorithm import EVERYWHERE
from utvm.schedule.winograd_block import (
    DEFAULT,
    MultiplyBuilder,
    WinogradSchedule,
    fits_int32,
    turn_steps,
)
from utvm.schedule.winograd_transform import FILTERS, TransformBuilder, tile_of, weights_micro

MOST_TAPS = 7
MOST_SUMS = 8
MOST_UNROLLED = 160
"""Products in a turn of the loop: more gain little, and assembling them takes seconds."""


def schedule_winograd(
    function: Function,
    constants: Mapping[str, Array],
    schedule: WinogradSchedule = DEFAULT,
) -> Scheduled | None:
    """The kernel by Winograd's algorithm, or None."""
    w = read_weighted_sum(function, constants)
    if w is None or not is_winograd(w):
        return None
    biases = known_bias(w.bias, w.filters, constants)
    if biases is None or not fits_int32(w, biases):
        return None
    tiles = w.columns // 2
    parts: list[_Part] = []
    for width in dict.fromkeys((min(schedule.tiles, tiles), 1)):
        if width == 1 and schedule.tiles > 1 and tiles % schedule.tiles == 0:
            continue
        builder = MultiplyBuilder(w, width, biases, constants, schedule)
        micro = builder.build()
        if micro is None:
            return None
        parts.append(_Part(width, builder, micro))
    return _Kernel(w, parts, schedule).build()


def is_winograd(w: WeightedSum) -> bool:
    """Windows where products are saved, whole tiles and blocks."""
    return (
        min(w.window) > 1
        and max(w.window) <= MOST_TAPS
        and saves_products(w)
        and w.narrow
        and w.source.dtype in (DType.INT8, DType.UINT8)
        and w.row_dilation == 1
        and w.rows % 2 == 0
        and w.columns % 2 == 0
        and w.depth % 4 == 0
        and w.filters % FILTERS == 0
        and fits_int32(w, np.zeros(w.filters, np.int32))
    )


def saves_products(w: WeightedSum) -> bool:
    """Whether there are fewer products than in the sums; strides as long as the window leave the
    pixels of a tile with one result each."""
    (kh, kw), tile = w.window, tile_of(w)
    everywhere = EVERYWHERE in tile.rows.positions and EVERYWHERE in tile.columns.positions
    return everywhere and len(tile.products) < 4 * kh * kw


def winograd_form(w: WeightedSum, schedule: WinogradSchedule) -> tuple[object, ...] | None:
    """What decides about the code, equal for schedules that make the same; None if there is no such
    kernel: too many sums for the registers, filters that do not divide."""
    s, tile = schedule, tile_of(w)
    tiles = w.columns // 2
    block = min(s.tiles, tiles)
    sums = block * s.filters
    if sums > MOST_SUMS or w.filters % s.filters or s.filters % s.results:
        return None
    chunk = tiles_on_end(w, s)
    if chunk % s.together or tiles % s.together:
        s = replace(s, together=1)
    turns = tuple(turn_steps(run.each * w.depth // 2, s.steps) for run in tile.runs)
    if max(turns) * sums > MOST_UNROLLED:
        return None
    return block, s.filters, turns, s.results, s.together, chunk, s.expanded


def tiles_on_end(w: WeightedSum, schedule: WinogradSchedule) -> int:
    """Tiles of a strip that are transformed, then multiplied: shares of equal size, of whole blocks
    of tiles."""
    tiles, block = w.columns // 2, schedule.tiles
    each = 2 * len(tile_of(w).products) * w.depth
    most = max(schedule.value_bytes // each // block, 1) * block
    chunks = -(-tiles // most)
    return min(-(-tiles // chunks // block) * block, tiles)


def stream_bytes(w: WeightedSum) -> int:
    """What the transformed weights take."""
    return 2 * len(tile_of(w).products) * w.depth * w.filters


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

    @property
    def tiles(self) -> int:
        return self.w.columns // 2

    @property
    def chunk(self) -> int:
        """Tiles that are transformed at a time."""
        return tiles_on_end(self.w, self.schedule)

    @property
    def transform(self) -> TransformBuilder:
        """Some tiles at a time where nothing is left over."""
        together = self.schedule.together
        whole = self.chunk % together == 0 and self.tiles % together == 0
        return TransformBuilder(self.w, self.line, together if whole else 1)

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
        return Buffer("values", DType.INT16, ((self.chunk + 1) * self._tile,), "workspace")

    @property
    def sums(self) -> tuple[Buffer, ...]:
        """A buffer for sums that have no room between the values."""
        if not any(part.builder.apart for part in self.parts):
            return ()
        size = len(tile_of(self.w).sums) * self.schedule.tiles * self.schedule.filters
        return (Buffer("sums", DType.INT32, (size,), "workspace"),)

    def build(self) -> Scheduled:
        w = self.w
        stream, first_of_all, data = _stream(w, self.parts[0].builder, self.schedule.expanded)
        n, strip, chunk = Var("n"), Var("strip"), Var("chunk")
        full, rest = divmod(self.tiles, self.chunk)
        row: tuple[Stmt, ...] = (
            loop(chunk, full, *self._tiles(stream, strip, chunk * self.chunk, self.chunk)),
        )
        if rest:
            row += self._tiles(stream, strip, Imm(full * self.chunk), rest)
        rows_of_pixels = _copy(w, self.lines, self.rows, n, strip * (2 * w.strides[0]))
        whole = (blank(self.lines, Imm(0), w.padding, 1, self.lines.elements),) if w.padded else ()
        rows = loop(strip, w.rows // 2, *rows_of_pixels, *row)
        body = simplify_body((*first_of_all, loop(n, w.image[0], *whole, rows)))
        operands = (o for part in self.parts for o in part.builder.epilogue.operands.values())
        tables = {operand.buffer.name for operand in operands}
        kept = tuple(b for b in w.function.constants if b.name in tables)
        own = (stream,) if self.schedule.expanded else ()
        function = replace(
            w.function,
            body=body,
            workspace=(self.values, *self.sums, self.lines, *own),
            constants=(*(Buffer(k, dtype_of(a), a.shape, "const") for k, a in data.items()), *kept),
        )
        expand = (weights_micro(w, self.schedule.filters),) if self.schedule.expanded else ()
        micros = (
            self.transform.build(),
            *expand,
            *(part.micro for part in self.parts),
        )
        return Scheduled(function, (*micros, *fills_of(body)), data)

    def _tiles(self, stream: Buffer, strip: Expr, first: Expr, count: int) -> tuple[Stmt, ...]:
        """``count`` tiles of a strip from tile ``first`` on."""
        w, tile = self.w, self._tile
        pixels = Pointer(self.lines, first * (2 * w.strides[1] * w.depth))
        turns = Imm(count // self.transform.unroll)
        arguments = pixels, Pointer(self.values, Imm(tile))
        calls = [Invoke(self.transform.name, arguments, (turns,))]
        done = 0
        for part in self.parts:
            whole = (count - done) // part.tiles
            if whole == 0:
                continue
            pointers = [Pointer(stream, Imm(0))]
            results: list[Pointer] = []
            for operand in part.builder.epilogue.operands.values():
                offset = operand.outer + (first + done) * (2 * operand.step("x"))
                offset = offset + strip * (2 * operand.step("y"))
                pointer = Pointer(operand.buffer.view(operand.buffer.elements), offset)
                (results if operand.buffer.scope == "output" else pointers).append(pointer)
            room = tuple(Pointer(b, Imm(0)) for b in self.sums if part.builder.apart)
            places = (*pointers, *results, Pointer(self.values, Imm(done * tile)), *room)
            calls.append(Invoke(part.micro.name, places, (Imm(whole),)))
            done += whole * part.tiles
        return tuple(calls)


def _stream(
    w: WeightedSum, builder: MultiplyBuilder, expanded: bool
) -> tuple[Buffer, tuple[Stmt, ...], dict[str, Array]]:
    """The stream of weights and constants, what fills it if it is in RAM, and arrays by name."""
    name = w.function.name
    words = builder.block_words
    filters = builder.filters
    blocks = w.filters // filters
    if not expanded:
        data = builder.stream()
        return (
            Buffer(f"{name}_stream", DType.INT32, data.shape, "const"),
            (),
            {f"{name}_stream": data},
        )
    stream = Buffer("stream", DType.INT32, (blocks * words,), "workspace")
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
    return stream, (loop(block, blocks, expand, loop(i, per_block, copy, parallel=True)),), arrays


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
    at = (n * height + row) * (width * depth)
    inside = copy(Pointer(source, at), lines, to, count)
    if top == 0 and (w.rows - 1) * w.strides[0] + w.window[0] <= height:
        return (loop(ky, rows, inside),)
    outside = blank(lines, to, w.padding, 1, count)
    condition = all_of(Binary(">=", row, Imm(0)), Binary("<", row, Imm(height)))
    return (loop(ky, rows, If(condition, (inside,), (outside,))),)
