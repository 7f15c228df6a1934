"""A depthwise convolution across channels: the whole kernel.

In: an unscheduled kernel, the module's constants. Out: the kernel, which runs the micro function of
``depthwise_across`` on the image itself where no window hangs over its border, else on strips of
four channels that are copied between padding; or None where it is not of that kind. Channels that
are no multiple of four are made once more together with some before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

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
from utvm.schedule.combine import combined
from utvm.schedule.conv_kernel import Scheduled
from utvm.schedule.depthwise_across import GROUP, AcrossBuilder
from utvm.schedule.depthwise_plain import PlainAcrossBuilder
from utvm.schedule.depthwise_strips import AcrossSchedule, Strips, parts_of
from utvm.schedule.depthwise_sum import DepthwiseSum, Prepared, prepare, read_depthwise
from utvm.schedule.fill import blank, fills_of
from utvm.schedule.weighted_sum import Array

_PIXEL = Var("pixel")
COPIED = 4
"""Pixels that a turn of a copy moves."""


def schedule_across(
    function: Function, constants: Mapping[str, Array], schedule: AcrossSchedule
) -> Scheduled | None:
    """The kernel across channels, or None."""
    w = read_depthwise(function, constants)
    if w is None or not has_groups(w):
        return None
    ready = prepare(w, constants, fits=True)
    if ready is None:
        return None
    parts = [
        _scheduled(replace(ready, w=part), schedule) for part in parts_of(ready.w, schedule.split)
    ]
    known = [part for part in parts if part is not None]
    return combined(function, known) if len(known) == len(parts) else None


def _scheduled(ready: Prepared, schedule: AcrossSchedule) -> Scheduled | None:
    w = ready.w
    strips = Strips(w, schedule)
    make = PlainAcrossBuilder if schedule.plain else AcrossBuilder
    builder = make(ready, strips.places, schedule.pixels, schedule.lanes, schedule.plain)
    groups = [*range(0, w.image[3] - GROUP + 1, GROUP)]
    if w.image[3] % GROUP:
        groups.append(w.image[3] - GROUP)
    built = builder.build(groups)
    if built is None or (w.image[3] % GROUP and _reads(builder)):
        return None
    micro, stream = built
    buffer = Buffer(f"{w.function.name}_stream", DType.INT32, stream.shape, "const")
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
        copies = () if self.strips.direct or not self.strips.inside[1] else (self._copy(),)
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
        row, column = self.strips.begin
        begin = (row * width + column) * depth + first
        image = Pointer(source, n * (height * width * depth) + begin)
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

    def _line(self, n: Expr, row: Expr, line: Expr, first: Expr) -> tuple[Stmt, ...]:
        """Four channels of one row of the image."""
        _, height, width, depth = self.w.image
        begin, count = self.strips.inside
        if not count:
            return ()
        at = ((n * height + row) * width + self.strips.begin[1]) * depth + first
        source = Pointer(self.w.source.view(self.w.source.elements), at)
        to = line * (GROUP * self.strips.spans[1]) + GROUP * begin
        return (Invoke(self._copy().name, (source, Pointer(self.strip, to)), ()),)

    def _blank_line(self, line: Expr) -> tuple[Stmt, ...]:
        begin, count = self.strips.inside
        at = line * (GROUP * self.strips.spans[1]) + GROUP * begin
        return (blank(self.strip, at, self.w.padding, 1, GROUP * count),) if count else ()

    def _copy(self) -> Function:
        """Four channels of a row of pixels."""
        depth, dtype = self.w.image[3], self.w.source.dtype
        _, count = self.strips.inside
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
