"""A depthwise convolution across channels: the whole kernel.

In: an unscheduled kernel, the module's constants. Out: the kernel, which runs the micro function of
``depthwise_across`` on the image itself where no window hangs over its border, else on strips of
four channels that are copied between padding; or None where it is not of that kind. Channels that
are no multiple of four are made once more together with some before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from utvm.ir.dtype import DType
from utvm.ir.loop import (
    Binary,
    Buffer,
    Expr,
    For,
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
from utvm.schedule.conv_kernel import Scheduled
from utvm.schedule.depthwise_across import GROUP, AcrossBuilder, Places
from utvm.schedule.depthwise_sum import DepthwiseSum, read_depthwise
from utvm.schedule.fill import blank, fills_of
from utvm.schedule.weighted_sum import Array, known_bias

_PIXEL = Var("pixel")
COPIED = 4
"""Pixels that a turn of a copy moves."""


@dataclass(frozen=True)
class AcrossSchedule:
    """The knobs: pixels of a block, channels that are summed at a time (2 or 4), most bytes of a
    strip of the padded image."""

    pixels: int = 2
    lanes: int = 4
    plane_bytes: int = 6144


ACROSS_DEFAULTS = (AcrossSchedule(), AcrossSchedule(pixels=4, lanes=2))


def schedule_across(
    function: Function, constants: Mapping[str, Array], schedule: AcrossSchedule
) -> Scheduled | None:
    """The kernel across channels, or None."""
    w = read_depthwise(function, constants)
    biases = None if w is None else known_bias(w.bias, w.filters, constants)
    if w is None or biases is None or not has_groups(w):
        return None
    strips = Strips(w, schedule.plane_bytes)
    builder = AcrossBuilder(w, strips.places, schedule.pixels, schedule.lanes, biases, constants)
    groups = [*range(0, w.image[3] - GROUP + 1, GROUP)]
    if w.image[3] % GROUP:
        groups.append(w.image[3] - GROUP)
    built = builder.build(groups)
    if built is None or (w.image[3] % GROUP and _reads(builder)):
        return None
    micro, stream = built
    buffer = Buffer(f"{function.name}_stream", DType.INT32, stream.shape, "const")
    kernel = _Kernel(w, strips, builder, micro, buffer)
    return Scheduled(kernel.function(), kernel.micros(), {buffer.name: stream})


def has_groups(w: DepthwiseSum) -> bool:
    """Whether there are four channels to take at a time."""
    return w.image[3] >= GROUP


def _reads(builder: AcrossBuilder) -> bool:
    """Whether results are made of other tensors: these may lie where results go, so that none may
    be made twice."""
    operands = builder.epilogue.operands.values()
    return any(operand.buffer.scope not in ("output", "const") for operand in operands)


@dataclass(frozen=True, eq=False)
class Strips:
    """What the micro function walks: the image, or strips of four channels of it."""

    w: DepthwiseSum
    most_bytes: int

    @cached_property
    def spans(self) -> tuple[int, int]:
        """Lines and columns that the windows see."""
        w = self.w
        right = (w.columns - 1) * w.strides[1] + (w.window[1] - 1) * w.column_dilation + 1
        return self.lines(w.rows), right

    def lines(self, rows: int) -> int:
        """Lines that ``rows`` rows of results see."""
        w = self.w
        return (rows - 1) * w.strides[0] + (w.window[0] - 1) * w.row_dilation + 1

    @property
    def direct(self) -> bool:
        """Whether all that windows see lies in the image."""
        _, height, width, _ = self.w.image
        return self.w.origin == (0, 0) and self.spans[0] <= height and self.spans[1] <= width

    @cached_property
    def rows(self) -> int:
        """Rows of results per strip."""
        w = self.w
        size = GROUP * w.source.dtype.size_bytes * self.spans[1]
        rows = w.rows
        while rows > 1 and size * self.lines(rows) > self.most_bytes:
            rows -= 1
        strips = -(-w.rows // rows)
        return -(-w.rows // strips)

    @cached_property
    def places(self) -> Places:
        """How the micro function walks: where rows share more lines than columns share columns, and
        all rows are at hand, blocks are vertical."""
        _, _, width, depth = self.w.image
        if self.direct:
            return Places(depth, width * depth, self.w.rows, self._vertical)
        return Places(GROUP, GROUP * self.spans[1], self.rows, self._vertical)

    @property
    def _vertical(self) -> bool:
        w = self.w
        kh, kw = w.window
        shared = [
            (taps - step) * others if dilation == 1 else 0
            for taps, step, dilation, others in (
                (kh, w.strides[0], w.row_dilation, kw),
                (kw, w.strides[1], w.column_dilation, kh),
            )
        ]
        whole = self.direct or self.rows == w.rows
        return whole and w.rows > 1 and shared[0] > max(shared[1], 0)


@dataclass(frozen=True, eq=False)
class _Kernel:
    w: DepthwiseSum
    strips: Strips
    builder: AcrossBuilder
    micro: Function
    stream: Buffer

    @property
    def strip(self) -> Buffer:
        lines, columns = self.strips.lines(self.strips.rows), self.strips.spans[1]
        elements = GROUP * lines * columns
        return Buffer("strip", self.w.source.dtype, (elements,), "workspace")

    def micros(self) -> tuple[Function, ...]:
        copies = () if self.strips.direct or not self._inside[1] else (self._copy(),)
        return (self.micro, *copies, *fills_of(self.body()))

    def function(self) -> Function:
        tables = {o.buffer.name for o in self.builder.epilogue.operands.values()}
        kept = tuple(b for b in self.w.function.constants if b.name in tables)
        return replace(
            self.w.function,
            body=self.body(),
            workspace=() if self.strips.direct else (self.strip,),
            constants=(self.stream, *kept),
        )

    def body(self) -> tuple[Stmt, ...]:
        w = self.w
        n = Var("n")
        whole, rest = divmod(w.image[3], GROUP)
        last = Imm(w.image[3] - GROUP)
        if self.strips.direct:
            calls = [self._direct(n, Imm(0), Imm(0), whole)]
            if rest:
                calls.append(self._direct(n, last, Imm(whole), 1))
            return simplify_body((loop(n, w.image[0], *calls),))
        group = Var("g")
        body: tuple[Stmt, ...] = (blank(self.strip, Imm(0), w.padding, 1, self.strip.elements),)
        body += (loop(group, whole, *self._strips(n, group * GROUP, group)),)
        if rest:
            body += self._strips(n, last, Imm(whole))
        return simplify_body((loop(n, w.image[0], *body),))

    def _direct(self, n: Expr, first: Expr, group: Expr, groups: int) -> Invoke:
        """Groups of channels from ``first`` on, straight from the image."""
        _, height, width, depth = self.w.image
        source = self.w.source.view(self.w.source.elements)
        image = Pointer(source, n * (height * width * depth) + first)
        outer = self.w.columns if self.strips.places.vertical else self.w.rows
        return self._invoke(image, first, group, Imm(0), groups, outer)

    def _strips(self, n: Expr, first: Expr, group: Expr) -> tuple[Stmt, ...]:
        """All rows of four channels from ``first`` on."""
        rows = self.strips.rows
        full, rest = divmod(self.w.rows, rows)
        strip = Var("strip_index")
        body: tuple[Stmt, ...] = (
            loop(strip, full, *self._one(n, first, group, strip * rows, rows)),
        )
        if rest:
            body += self._one(n, first, group, Imm(full * rows), rest)
        return body

    def _one(self, n: Expr, first: Expr, group: Expr, y: Expr, rows: int) -> tuple[Stmt, ...]:
        """``rows`` rows of results from ``y`` on."""
        w = self.w
        height = w.image[1]
        line = Var("line")
        row = y * w.strides[0] + line - w.origin[0]
        lines = self.strips.lines(rows)
        inside = self._line(n, row, line, first)
        fill: Stmt = loop(line, lines, *inside)
        if w.origin[0] > 0 or self.strips.spans[0] - w.origin[0] > height:
            condition = all_of(Binary(">=", row, Imm(0)), Binary("<", row, Imm(height)))
            outside = self._blank_line(line) if self.strips.rows < w.rows else ()
            fill = loop(line, lines, If(condition, inside, outside))
        outer = w.columns if self.strips.places.vertical else rows
        image = Pointer(self.strip, Imm(0))
        return (fill, self._invoke(image, first, group, y, 1, outer))

    @property
    def _inside(self) -> tuple[int, int]:
        """Where the image begins in a line of a strip, and how many of its pixels are there."""
        begin = self.w.origin[1]
        return begin, max(min(self.w.image[2], self.strips.spans[1] - begin), 0)

    def _line(self, n: Expr, row: Expr, line: Expr, first: Expr) -> tuple[Stmt, ...]:
        """Four channels of one row of the image."""
        _, height, width, depth = self.w.image
        begin, count = self._inside
        if not count:
            return ()
        source = Pointer(
            self.w.source.view(self.w.source.elements), (n * height + row) * (width * depth) + first
        )
        to = line * (GROUP * self.strips.spans[1]) + GROUP * begin
        return (Invoke(self._copy().name, (source, Pointer(self.strip, to)), ()),)

    def _blank_line(self, line: Expr) -> tuple[Stmt, ...]:
        begin, count = self._inside
        at = line * (GROUP * self.strips.spans[1]) + GROUP * begin
        return (blank(self.strip, at, self.w.padding, 1, GROUP * count),) if count else ()

    def _copy(self) -> Function:
        """Four channels of a row of pixels."""
        depth, dtype = self.w.image[3], self.w.source.dtype
        _, count = self._inside
        source = Buffer("x", dtype, ((count - 1) * depth + GROUP,), "input")
        to = Buffer("strip", dtype, (GROUP * count,), "output")
        whole = count - count % COPIED
        turn = tuple(_moved(source, to, _PIXEL, range(COPIED), depth))
        body: tuple[Stmt, ...] = (
            For(_PIXEL, Imm(0), Imm(whole), turn, COPIED, parallel=True),
            *_moved(source, to, Imm(0), range(whole, count), depth),
        )
        return Function(
            f"gather_{dtype.value}_{depth}_{count}",
            (source,),
            (to,),
            simplify_body(body),
            comment=(f"Four channels of {count} pixels.",),
        )

    def _invoke(
        self, image: Pointer, first: Expr, group: Expr, y: Expr, groups: int, outer: int
    ) -> Invoke:
        """The micro function on what begins at ``image``."""
        words = self.w.multiplier * self.builder.group_words
        pointers = [image, Pointer(self.stream, group * words)]
        results: list[Pointer] = []
        for operand in self.builder.epilogue.operands.values():
            offset = operand.outer
            for name, base in ((self.w.axes[0], y), ("c", first)):
                if operand.step(name):
                    offset = offset + base * operand.step(name)
            pointer = Pointer(operand.buffer.view(operand.buffer.elements), offset)
            (results if operand.buffer.scope == "output" else pointers).append(pointer)
        return Invoke(self.micro.name, (*pointers, *results), (Imm(groups), Imm(outer)))


def _moved(source: Buffer, to: Buffer, first: Expr, pixels: range, depth: int) -> list[Stmt]:
    """Copies of ``pixels`` behind ``first``: loads, then stores."""
    lanes = 32 // source.dtype.bits
    loads: list[Stmt] = []
    stores: list[Stmt] = []
    for p in pixels:
        for lane in range(0, GROUP, lanes):
            word = Var(f"{'last' if isinstance(first, Imm) else 'word'}{p}_{lane}")
            loads.append(Let(word, Load(source, (first * depth + (p * depth + lane),), lanes)))
            place = first * GROUP + (p * GROUP + lane)
            stores.append(Store(to, (place,), word, lanes))
    return [*loads, *stores]
