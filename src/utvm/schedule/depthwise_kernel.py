"""A depthwise convolution on planes of int16: the whole kernel.

In: an unscheduled kernel, the module's constants. Out: the kernel, which takes four channels at a
time: it spreads some of their lines over planes, then runs the micro function on these; or None
where the kernel is not of that kind. Small images are spread whole, larger ones in strips of rows
that overlap by the height of the window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.loop import (
    Binary,
    Buffer,
    Call,
    Cast,
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
from utvm.schedule.combine import at_phase, combined
from utvm.schedule.conv_kernel import Scheduled
from utvm.schedule.depthwise_block import DepthwiseBuilder, PlaneLayout
from utvm.schedule.depthwise_spread import spread_few
from utvm.schedule.depthwise_sum import DepthwiseSum, Prepared, prepare, read_depthwise
from utvm.schedule.fill import blank, fills_of
from utvm.schedule.unbiased import RAISED, raised_halves
from utvm.schedule.weighted_sum import Array

I16 = DType.INT16
GROUP = 4
"""Channels that are spread together: the bytes of a word."""
SHORTEST_SHARED, LONGEST_SHARED = 3, 7
"""Columns of a block that layers share: shorter ones are too slow, longer ones lack registers."""
_PIXEL = Var("pixel")
_DEPTH, _PLANE, _MORE = Var("depth"), Var("plane"), Var("more")


@dataclass(frozen=True)
class DepthwiseSchedule:
    """The knobs: most columns of a block, most bytes of planes; whether micro functions are
    ``shared`` with other layers, at the cost of some cycles; whether weights are int16 in flash."""

    width: int = 6
    plane_bytes: int = 6144
    shared: bool = False
    wide: bool = True


def schedule_depthwise(
    function: Function, constants: Mapping[str, Array], schedule: DepthwiseSchedule
) -> Scheduled | None:
    """The kernel on planes, or None."""
    w = read_depthwise(function, constants)
    if w is None:
        return None
    if not (schedule.wide or is_narrow(w)):
        return None
    fits = schedule.wide and not schedule.shared
    ready = prepare(w, constants, fits, raises=fits and _may_raise(w))
    if ready is None:
        return None
    parts = [_scheduled(replace(ready, w=part), schedule) for part in column_phases(ready.w)]
    known = [part for part in parts if part is not None]
    return combined(function, known) if len(known) == len(parts) else None


def _may_raise(w: DepthwiseSum) -> bool:
    """Whether pixels may be shifted when they are spread: four signed bytes at a time."""
    return w.source.dtype is DType.INT8 and w.image[3] % GROUP == 0


def column_phases(w: DepthwiseSum) -> list[DepthwiseSum]:
    """Sums whose windows are not dilated along columns: every ``column_dilation``-th result each,
    with streams of their own names; the sum itself where it is not dilated."""
    phases = min(w.column_dilation, w.columns)
    if w.column_dilation == 1 or w.window[1] == 1 or w.strides[1] > 1:
        return [w] if w.column_dilation == 1 or w.window[1] == 1 else []
    return [
        replace(
            w,
            columns=-(-(w.columns - phase) // w.column_dilation),
            origin=(w.origin[0], w.origin[1] - phase),
            epilogue=at_phase(w.epilogue, phase, w.column_dilation, w.axes[1]),
            column_dilation=1,
            column_step=w.column_dilation,
        )
        for phase in range(phases)
    ]


def _scheduled(ready: Prepared, schedule: DepthwiseSchedule) -> Scheduled | None:
    w = ready.w
    rows, layout = _strips(w, schedule)
    shared = schedule.shared and w.column_step == 1
    width = shared_width(w, schedule.width) if shared else _width(w, schedule)
    if width is None:
        return None
    builder = DepthwiseBuilder(
        w,
        layout,
        width,
        ready.biases,
        ready.constants,
        shared,
        schedule.wide,
        ready.raised,
    )
    built = builder.build()
    if built is None:
        return None
    micro, stream = built
    name = f"{w.function.name}_stream"
    kernel = _Kernel(
        w, layout, rows, builder, micro, Buffer(name, DType.INT32, stream.shape, "const")
    )
    return Scheduled(kernel.function(), kernel.micros(), {name: stream})


def planes_of(w: DepthwiseSum, schedule: DepthwiseSchedule) -> tuple[DepthwiseBuilder, int, int]:
    """What makes the blocks of a sum without dilated columns; strips of rows, lines of each."""
    rows, layout = _strips(w, schedule)
    biases = np.zeros(w.filters, np.int32)
    builder = DepthwiseBuilder(w, layout, _width(w, schedule), biases, {}, wide=schedule.wide)
    return builder, -(-w.rows // rows), layout.lines


def is_narrow(w: DepthwiseSum) -> bool:
    """Whether the weights fit int8."""
    return bool(w.weights.min() >= -128 and w.weights.max() <= 127)


def stream_bytes(w: DepthwiseSum, wide: bool) -> int:
    """What the weights take."""
    total = 0
    for part in column_phases(w):
        biases = np.zeros(w.filters, np.int32)
        layout = _strips(part, DepthwiseSchedule())[1]
        builder = DepthwiseBuilder(part, layout, 2, biases, {}, wide=wide)
        total += 4 * w.filters * w.window[0] * builder.row_words
    return total


def _strips(w: DepthwiseSum, schedule: DepthwiseSchedule) -> tuple[int, PlaneLayout]:
    """Rows of results per strip, as many as the planes may hold, and the planes."""
    kh, kw = w.window
    shift = w.blank_columns % 2
    columns = shift + (w.columns - 1) * w.strides[1] + kw
    columns += columns % 2

    def lines(rows: int) -> int:
        return (rows - 1) * w.strides[0] + (kh - 1) * w.row_dilation + 1

    rows = w.rows
    while rows > 1 and 2 * GROUP * lines(rows) * columns > schedule.plane_bytes:
        rows -= 1
    strips = -(-w.rows // rows)
    rows = -(-w.rows // strips)
    return rows, PlaneLayout(lines(rows), columns, shift)


def _width(w: DepthwiseSum, schedule: DepthwiseSchedule) -> int:
    """Columns of a block: all blocks begin at words, and as few columns as can be are left over."""
    if w.columns <= schedule.width:
        return w.columns
    step = 1 if w.strides[1] % 2 == 0 else 2
    widths = [n for n in range(schedule.width, 1, -1) if n % step == 0] or [2]
    return min(widths, key=lambda n: (-(-w.columns // n), w.columns % n))


def shared_width(w: DepthwiseSum, most: int) -> int | None:
    """Columns of blocks that leave no column over and begin at words; None where there is no such
    number."""
    if SHORTEST_SHARED <= w.columns <= max(most, LONGEST_SHARED) and w.columns % 2:
        return w.columns
    for width in range(min(most, w.columns), SHORTEST_SHARED - 1, -1):
        if w.columns % width == 0 and (width == w.columns or width * w.strides[1] % 2 == 0):
            return width
    return None


@dataclass(frozen=True, eq=False)
class _Kernel:
    w: DepthwiseSum
    layout: PlaneLayout
    rows: int
    builder: DepthwiseBuilder
    micro: Function
    stream: Buffer

    @property
    def planes(self) -> Buffer:
        channels = min(GROUP, self.w.image[3])
        return Buffer("planes", I16, (channels * self.layout.elements,), "workspace")

    def micros(self) -> tuple[Function, ...]:
        return (self.micro, *self._spreads(), *fills_of(self.body()))

    def function(self) -> Function:
        tables = {o.buffer.name for o in self.builder.epilogue.operands.values()}
        kept = tuple(b for b in self.w.function.constants if b.name in tables)
        return replace(
            self.w.function,
            body=self.body(),
            workspace=(self.planes,),
            constants=(self.stream, *kept),
        )

    def body(self) -> tuple[Stmt, ...]:
        w = self.w
        n, group = Var("n"), Var("g")
        groups, rest = divmod(w.image[3], GROUP)
        body: tuple[Stmt, ...] = (
            blank(self.planes, Imm(0), self._padding, 1, self.planes.elements),
        )
        body += (loop(group, groups, *self._strips(n, group * GROUP, GROUP)),)
        if rest:
            body += self._strips(n, Imm(groups * GROUP), rest)
        return simplify_body((loop(n, w.image[0], *body),))

    def _strips(self, n: Expr, first: Expr, channels: int) -> tuple[Stmt, ...]:
        """All rows of ``channels`` channels from ``first`` on."""
        full, rest = divmod(self.w.rows, self.rows)
        strip = Var("strip")
        body: tuple[Stmt, ...] = (
            loop(strip, full, *self._strip(n, first, channels, strip * self.rows, self.rows)),
        )
        if rest:
            body += self._strip(n, first, channels, Imm(full * self.rows), rest)
        return body

    def _strip(self, n: Expr, first: Expr, channels: int, y: Expr, rows: int) -> tuple[Stmt, ...]:
        """``rows`` rows of results from ``y`` on."""
        w = self.w
        kh, _ = w.window
        _, height, _, _ = w.image
        lines = (rows - 1) * w.strides[0] + (kh - 1) * w.row_dilation + 1
        line = Var("line")
        row = y * w.strides[0] + line - w.origin[0]
        inside = self._line(n, row, line, first, channels)
        last = (w.rows - 1) * w.strides[0] + (kh - 1) * w.row_dilation - w.origin[0]
        fill: Stmt = loop(line, lines, *inside)
        if w.origin[0] > 0 or last >= height:
            condition = all_of(Binary(">=", row, Imm(0)), Binary("<", row, Imm(height)))
            outside = self._blank_line(line, channels) if self.rows < w.rows else ()
            fill = loop(line, lines, If(condition, inside, outside))
        return (fill, self._invoke(n, first, channels, y, rows))

    @property
    def _inside(self) -> tuple[int, int]:
        """Where the image begins in a line of a plane, and how many of its pixels are there."""
        begin = self.layout.shift + self.w.blank_columns
        seen = -(-(self.w.image[2] - self._left) // self.w.column_step)
        return begin, max(min(seen, self.layout.columns - begin), 0)

    @property
    def _left(self) -> int:
        """The first column of the image that is read."""
        return self.w.blank_columns * self.w.column_step - self.w.origin[1]

    def _line(self, n: Expr, row: Expr, line: Expr, first: Expr, channels: int) -> tuple[Stmt, ...]:
        """One row of the image, spread over the planes."""
        _, height, width, depth = self.w.image
        begin, count = self._inside
        source = self.w.source.view(self.w.source.elements)
        at = ((n * height + row) * width + self._left) * depth + first
        to = line * self.layout.columns + begin
        if count == 0:
            return ()
        pointers = (Pointer(source, at), Pointer(self.planes, to))
        spread = self._spread_of(channels)
        scalars: tuple[int, ...] = ()
        if spread.scalars:
            scalars = (count // 2 - 1, depth * self.w.column_step, self.layout.elements)
        return (Invoke(spread.name, pointers, tuple(map(Imm, scalars))),)

    @property
    def _padding(self) -> int:
        return self.w.padding << (RAISED if self.builder.raised else 0)

    def _blank_line(self, line: Expr, channels: int) -> tuple[Stmt, ...]:
        """One row outside of the image; where its end is odd, one more of the padding there."""
        begin, count = self._inside
        at = line * self.layout.columns + begin
        pitch = self.layout.elements
        return (blank(self.planes, at, self._padding, channels, count + count % 2, pitch),)

    def _spreads(self) -> tuple[Function, ...]:
        groups, rest = divmod(self.w.image[3], GROUP)
        used = (GROUP,) * (groups > 0) + (rest,) * (rest > 0)
        return tuple(map(self._spread_of, used)) if self._inside[1] else ()

    def _spread_of(self, channels: int) -> Function:
        """What spreads a row of so many channels."""
        w = self.w
        if channels == GROUP and w.source.dtype.bits == 8:
            return self._spread()
        apart = w.image[3] * w.column_step
        _, count = self._inside
        return spread_few(w.source.dtype, apart, channels, count, self.layout.elements)

    def _spread(self) -> Function:
        """Four channels of a row of pixels, each to its plane: two pixels make a word."""
        depth, size = self.w.image[3] * self.w.column_step, self.layout.elements
        _, count = self._inside
        if self.builder.shared and count > 1:
            return shared_spread(self.w.source.dtype, count % 2 == 1)
        source = Buffer("x", self.w.source.dtype, ((count - 1) * depth + GROUP,), "input")
        planes = Buffer("planes", I16, (3 * size + count,), "output")
        raised = self.builder.raised
        pairs = _pairs(source, planes, Imm(depth), Imm(size), raised=raised)
        body: tuple[Stmt, ...] = (
            For(_PIXEL, Imm(0), Imm(count - count % 2), pairs, 2, parallel=True),
        )
        if count % 2:
            body += _singles(source, planes, Imm(count - 1), Imm(depth), Imm(size), raised)
        return Function(
            f"spread_{depth}_{count}{'_raised' if raised else ''}",
            (source,),
            (planes,),
            simplify_body(body),
            comment=(f"Four channels of {count} pixels, each to its own plane.",),
        )

    def _invoke(self, n: Expr, first: Expr, channels: int, y: Expr, rows: int) -> Invoke:
        """The micro function on the lines in the planes."""
        words = self.w.multiplier * self.builder.filter_words
        pointers = [Pointer(self.planes, Imm(0)), Pointer(self.stream, first * words)]
        results: list[Pointer] = []
        for operand in self.builder.epilogue.operands.values():
            offset = operand.outer
            for name, base in ((self.w.axes[0], y), ("c", first)):
                if operand.step(name):
                    offset = offset + base * operand.step(name)
            pointer = Pointer(operand.buffer.view(operand.buffer.elements), offset)
            (results if operand.buffer.scope == "output" else pointers).append(pointer)
        scalars = (channels, rows, *self.builder.numbers())
        return Invoke(self.micro.name, (*pointers, *results), tuple(map(Imm, scalars)))


def shared_spread(dtype: DType, odd: bool) -> Function:
    """The same for pixels of any number, even or odd, and images of any depth."""
    source = Buffer("x", dtype, (GROUP,), "input")
    planes = Buffer("planes", I16, (2,), "output")
    stop = _MORE * 2 + 2
    pairs = _pairs(source, planes, _DEPTH, _PLANE, _PIXEL * 2)
    body: tuple[Stmt, ...] = (For(_PIXEL, Imm(0), _MORE + 1, pairs, parallel=True),)
    if odd:
        body += _singles(source, planes, stop, _DEPTH, _PLANE)
    return Function(
        f"spread_{dtype.value}{'_odd' if odd else ''}",
        (source,),
        (planes,),
        simplify_body(body),
        comment=("Four channels of a row of pixels, each to its own plane.",),
        scalars=(_MORE, _DEPTH, _PLANE),
    )


def _pairs(
    source: Buffer,
    planes: Buffer,
    depth: Expr,
    plane: Expr,
    pixel: Expr = _PIXEL,
    raised: bool = False,
) -> tuple[Stmt, ...]:
    """Two pixels from ``pixel`` on: two channels of both are a word, of which every other byte is
    one channel. ``raised``: bytes become the upper ones of halfwords."""
    expand = "sxtb16" if source.dtype.is_signed else "uxtb16"
    words = (Var("word0"), Var("word1"))
    result: list[Stmt] = [
        Let(word, Load(source, (pixel * depth + depth * p,), 4)) for p, word in enumerate(words)
    ]
    # PKHTB takes the upper halves, with the first operand's on top.
    for first, name, halves in ((0, "pkhbt", words), (2, "pkhtb", words[::-1])):
        both = Var(f"both{first}")
        result.append(Let(both, Call(name, halves, DType.INT32)))
        values: tuple[Expr, ...] = tuple(
            Call(apart, (both,), DType.INT32) for apart in (expand, f"{expand}_ror8")
        )
        if raised:
            values = raised_halves(both)
        for channel, value in enumerate(values, first):
            result.append(Store(planes, (pixel + plane * channel,), value, 2))
    return tuple(result)


def _singles(
    source: Buffer, planes: Buffer, at: Expr, depth: Expr, plane: Expr, raised: bool = False
) -> tuple[Stmt, ...]:
    """The last of an odd number of pixels."""
    result: list[Stmt] = []
    for channel in range(GROUP):
        pixel: Expr = Load(source, (at * depth + channel,))
        if raised:
            pixel = Cast(DType.INT32, pixel) * (1 << RAISED)
        result.append(Store(planes, (at + plane * channel,), Cast(I16, pixel)))
    return tuple(result)
