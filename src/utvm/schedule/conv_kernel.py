"""A convolution or dense layer as line buffer and register blocks: the whole kernel.

In: an unscheduled kernel, the module's constants. Out: the kernel that fills a line buffer for each
row of results and invokes micro functions on it, with these and its new constants; or None where
the kernel is not of that kind. Columns and filters that do not fill a block go through smaller
blocks of the same making.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import gcd

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import Binary, Buffer, Expr, Function, Imm, Invoke, Pointer, Stmt, Var, loop
from utvm.ir.rewrite import simplify_body, substitute_expr
from utvm.schedule.conv_block import Block, BlockBuilder
from utvm.schedule.fill import fills_of
from utvm.schedule.line_buffer import (
    buffer_of,
    expand_micro,
    fill_once,
    fill_ring,
    fill_row,
    has_expand,
)
from utvm.schedule.unpack import unpacked
from utvm.schedule.weighted_sum import Array, WeightedSum
from utvm.schedule.window_layout import WindowLayout, has_ring, ring_turns, window_layout

CHUNK_COLUMNS = 16
"""Results of a 1x1 convolution for which the line buffer is filled at a time."""


@dataclass(frozen=True, eq=False)
class Scheduled:
    """A kernel, the micro functions that it invokes, and constants by name."""

    function: Function
    micros: tuple[Function, ...] = ()
    constants: Mapping[str, Array] | None = None


def plain_schedule(scheduled: Scheduled) -> Scheduled | None:
    """The same by micro functions without packed words; None where one has no such form."""
    micros = [unpacked(micro) for micro in scheduled.micros]
    known = tuple(micro for micro in micros if micro is not None)
    return replace(scheduled, micros=known) if len(known) == len(micros) else None


@dataclass(frozen=True)
class ConvSchedule:
    """The knobs: pixels and filters of a block, int16 weights, steps per turn of the loop; whether
    micro functions are ``shared`` with other layers, at the cost of some cycles; whether rows of
    the image stay in a ``ring``, at the cost of weights for each of its turns; whether blocks are
    on the ``raw`` image; whether they are ``plain``, for cores without DSP instructions,
    and then of two taps a word (``folded``), at the cost of twice the weights."""

    pixels: int = 2
    filters: int = 4
    wide: bool = False
    steps: int = 8
    shared: bool = False
    ring: bool = False
    raw: bool = False
    plain: bool = False
    folded: bool = False


@dataclass
class ConvKernel:
    """One weighted sum on a line buffer."""

    w: WeightedSum
    constants: Mapping[str, Array]
    schedule: ConvSchedule

    def build(self) -> Scheduled | None:
        w = self.w
        whole_rows = w.rows > 1 or w.window != (1, 1)
        pixels = min(self.schedule.pixels, w.columns)
        most = CHUNK_COLUMNS - CHUNK_COLUMNS % pixels
        chunk = w.columns if whole_rows else min(w.columns, most)
        layout = window_layout(w, chunk, self.schedule.ring and has_ring(w))
        blocks = self.blocks(layout, pixels)
        if blocks is None:
            return None
        micros: list[Function] = [block.micro for block in blocks]
        if has_expand(w, layout):
            micros.append(expand_micro(w, layout))
        n, y, first = Var("n"), Var("y"), Var("first")

        def part(begin: Expr, columns: int) -> tuple[Stmt, ...]:
            calls = [c for b in blocks for c in self.calls(b, layout, begin, columns)]
            return (*fill_row(w, layout, n, y, begin, columns), *calls)

        full, rest = divmod(w.columns, chunk)
        row: tuple[Stmt, ...] = part(first * chunk, chunk)
        row = (loop(first, full, *row),)
        if rest:
            row += part(Imm(full * chunk), rest)
        body = (*fill_ring(w, layout, n), loop(y, w.rows, *row))
        body = (loop(n, w.image[0], *fill_once(w, layout), *body),)
        whole = simplify_body(body)
        return self.scheduled(whole, layout, blocks, (*micros, *fills_of(whole)))

    def blocks(self, layout: WindowLayout, pixels: int) -> list[Part] | None:
        """Blocks that cover all filters: whole ones, then those that are left; for the pixels of a
        block, and for single pixels if they do not divide the columns."""
        s, w = self.schedule, self.w
        width = min(s.filters if pixels > 1 or s.plain else 2 * s.filters, w.filters)
        parts: list[Part] = []
        whole = w.filters - w.filters % width
        for first, filters in ((0, whole), (whole, w.filters - whole)):
            if filters == 0:
                continue
            size = min(width, filters)
            name = f"{w.function.name}_stream{'_tail' if first else ''}"
            for p in dict.fromkeys((pixels, 1)):
                if p != pixels and w.columns % pixels == 0:
                    continue
                block = Block(p, size, s.wide, s.steps, s.plain)
                builder = self.builder(layout, block, first, filters)
                built = builder.build()
                if built is None:
                    return None
                parts.append(Part(p, pixels, builder, *built, name))
        return parts

    def calls(self, part: Part, layout: WindowLayout, begin: Expr, columns: int) -> list[Invoke]:
        """Runs a part on ``columns`` results from ``begin`` on: all whole blocks, or the rest."""
        whole = columns - columns % part.most
        start, count = (
            (0, whole // part.most) if part.pixels == part.most else (whole, columns - whole)
        )
        if count == 0:
            return []
        w = self.w
        stream = Buffer(part.name, DType.INT32, (len(part.stream),), "const")
        turns = ring_turns(w) if layout.ring else 1
        pointers = [
            self.window(layout, start),
            Pointer(stream, self.turn(layout) * (len(part.stream) // turns)),
        ]
        results: list[Pointer] = []
        for operand in part.builder.epilogue.operands.values():
            offset = operand.outer
            if operand.step(w.variables["x"]):
                offset = offset + (begin + Imm(start)) * operand.step(w.variables["x"])
            names = {w.variables.get("n", "n"): Var("n"), w.variables.get("y", "y"): Var("y")}
            offset = substitute_expr(offset, names)
            pointer = Pointer(operand.buffer.view(operand.buffer.elements), offset)
            (results if operand.buffer.scope == "output" else pointers).append(pointer)
        return [Invoke(part.micro.name, (*pointers, *results), (Imm(count),))]

    def builder(self, layout: WindowLayout, block: Block, first: int, filters: int) -> BlockBuilder:
        """What makes the blocks of some filters."""
        return BlockBuilder(self.w, layout, block, first, filters, self.constants)

    def window(self, layout: WindowLayout, start: int) -> Pointer:
        """The window of result column ``start`` of row ``y``."""
        return Pointer(buffer_of(layout), Imm(start * layout.step * layout.column))

    def workspace(self, layout: WindowLayout) -> tuple[Buffer, ...]:
        """The buffers that are filled with what windows see."""
        return (buffer_of(layout),)

    def turn(self, layout: WindowLayout) -> Expr:
        """Which of the streams the windows of row ``y`` of results need."""
        if not layout.ring:
            return Imm(0)
        w = self.w
        step = w.strides[0] // gcd(w.strides[0], w.window[0])
        return Binary("%", Var("y") * step, Imm(ring_turns(w)))

    def scheduled(
        self,
        body: tuple[Stmt, ...],
        layout: WindowLayout,
        parts: list[Part],
        micros: tuple[Function, ...],
    ) -> Scheduled:
        streams = {part.name: part.stream for part in parts}
        tables = {
            o.buffer.name: o.buffer
            for part in parts
            for o in part.builder.epilogue.operands.values()
            if o.buffer.scope == "const"
        }
        constants = [Buffer(n, DType.INT32, (len(data),), "const") for n, data in streams.items()]
        declared = {b.name: b for b in self.w.function.constants}
        function = replace(
            self.w.function,
            body=body,
            workspace=self.workspace(layout),
            constants=(*constants, *(declared[name] for name in tables)),
        )
        return Scheduled(function, micros, streams)


@dataclass(frozen=True, eq=False)
class Part:
    """Blocks of ``pixels`` columns; whole blocks have ``most``."""

    pixels: int
    most: int
    builder: BlockBuilder
    micro: Function
    stream: np.ndarray
    name: str
