"""Filling the line buffer of a convolution: bytes of the image become int16, once per row.

In: the geometry of a weighted sum and the layout of its buffer. Out: statements that fill the
buffer for one row of results, and the micro function that expands bytes. Rows and columns outside
of the image hold the padding value; columns are written once, since no row changes them.
"""

from __future__ import annotations

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
from utvm.schedule.fill import blank
from utvm.schedule.unbiased import RAISED, raised_halves
from utvm.schedule.weighted_sum import WeightedSum
from utvm.schedule.window_layout import WindowLayout

I16 = DType.INT16
_COUNT, _PIXEL, _GROUP = Var("count"), Var("pixel"), Var("group")
_MOST_GROUPS = 4


def buffer_of(layout: WindowLayout) -> Buffer:
    return Buffer(layout.name, I16, (layout.elements,), "workspace")


def expand_micro(w: WeightedSum, layout: WindowLayout) -> Function:
    """Pixels of ``depth`` bytes, a multiple of four, become int16 in columns of the buffer."""
    if not layout.grouped:
        return _copy_micro(w, layout)
    groups = w.depth // 4
    unroll = next(n for n in range(_MOST_GROUPS, 0, -1) if groups % n == 0)
    stride = _column_stride(w) * w.pixel_pitch
    source = Buffer("x", w.source.dtype, (w.depth,), "input")
    expand = "sxtb16" if source.dtype.is_signed else "uxtb16"
    lines = Buffer("lines", I16, (w.depth,), "output")
    body: list[Stmt] = []
    for g in range(unroll):
        word = Var(f"word_{g}")
        at = _GROUP * 4 + 4 * g
        body.append(Let(word, Load(source, (_PIXEL * stride + at,), 4)))
        values: tuple[Expr, ...] = raised_halves(word)
        if not w.raised:
            names = expand, f"{expand}_ror8"
            values = tuple(Call(name, (word,), DType.INT32) for name in names)
        for half, value in enumerate(values):
            index = _PIXEL * layout.column + (at + 2 * half)
            body.append(Store(lines, (index,), value, 2))
    inner = For(_GROUP, Imm(0), Imm(groups), tuple(body), unroll, parallel=True)
    about = f"{w.depth} bytes of each pixel as int16: bytes 0 and 2 of four, then 1 and 3."
    return Function(
        _micro_name("expand", w, layout),
        (source,),
        (lines,),
        simplify_body((For(_PIXEL, Imm(0), _COUNT, (inner,), parallel=True),)),
        comment=(about,),
        scalars=(_COUNT,),
    )


def may_raise(w: WeightedSum) -> bool:
    """Whether pixels may be shifted when they are expanded: signed bytes, four at a time."""
    return w.source.dtype is DType.INT8 and w.depth % 4 == 0


def has_expand(w: WeightedSum, layout: WindowLayout) -> bool:
    """Whether whole words of a pixel go to the buffer, which ``expand_micro`` does."""
    return layout.grouped or (w.source.dtype is I16 and w.depth % 2 == 0)


def _copy_micro(w: WeightedSum, layout: WindowLayout) -> Function:
    """Pixels of ``depth`` halfwords, an even number, as they are."""
    words = w.depth // 2
    unroll = next(n for n in range(2 * _MOST_GROUPS, 0, -1) if words % n == 0)
    source = Buffer("x", I16, (w.depth,), "input")
    lines = Buffer("lines", I16, (w.depth,), "output")
    ahead = _PIXEL * (_column_stride(w) * w.pixel_pitch) + _GROUP * 2
    loads: list[Stmt] = []
    stores: list[Stmt] = []
    for i in range(unroll):
        word = Var(f"word_{i}")
        loads.append(Let(word, Load(source, (ahead + 2 * i,), 2)))
        stores.append(Store(lines, (_PIXEL * layout.column + _GROUP * 2 + 2 * i,), word, 2))
    inner = For(_GROUP, Imm(0), Imm(words), (*loads, *stores), unroll, parallel=True)
    return Function(
        _micro_name("copy", w, layout),
        (source,),
        (lines,),
        simplify_body((For(_PIXEL, Imm(0), _COUNT, (inner,), parallel=True),)),
        comment=(f"{w.depth} halfwords of each pixel.",),
        scalars=(_COUNT,),
    )


def _micro_name(stem: str, w: WeightedSum, layout: WindowLayout) -> str:
    """Buffers of other forms in one kernel are filled by micro functions of their own."""
    return f"{stem}_{w.depth}{'_raised' * w.raised}{layout.name.removeprefix('lines')}"


def _padding(w: WeightedSum) -> int:
    """What padding is in the buffer."""
    return w.padding << (RAISED if w.raised else 0)


def _column_stride(w: WeightedSum) -> int:
    """Columns of the image from one column of the buffer to the next."""
    return w.strides[1] if w.window[1] == 1 else w.column_step


def fill_once(w: WeightedSum, layout: WindowLayout) -> tuple[Stmt, ...]:
    """What stays for all rows: padding left and right, and elements of no use."""
    if not w.padded and layout.elements == layout.columns * w.window[0] * w.depth:
        return ()
    return (blank(buffer_of(layout), Imm(0), _padding(w), 1, layout.elements),)


def fill_row(
    w: WeightedSum, layout: WindowLayout, image: Expr, y: Expr, first: Expr, columns: int
) -> tuple[Stmt, ...]:
    """The rows of the windows of result row ``y``, from result column ``first`` on; of a ring, only
    those that the windows of the row before do not see."""
    kh = w.window[0]
    known = kh - w.strides[0] if layout.ring else 0
    return _rows(w, layout, (image, y, first), columns, range(known, kh))


def fill_ring(w: WeightedSum, layout: WindowLayout, image: Expr) -> tuple[Stmt, ...]:
    """What ``fill_row`` takes as known of the first row of results."""
    if not layout.ring:
        return ()
    known = range(w.window[0] - w.strides[0])
    return _rows(w, layout, (image, Imm(0), Imm(0)), w.columns, known)


def _rows(
    w: WeightedSum,
    layout: WindowLayout,
    place: tuple[Expr, Expr, Expr],
    columns: int,
    rows: range,
) -> tuple[Stmt, ...]:
    """Some rows of the windows at a place: image, row, and column of results."""
    image, y, first = place
    kw = w.window[1]
    filled = columns if kw == 1 else layout.columns
    _, height, width, depth = w.image
    ky: Expr = Var("ky") + rows.start
    row = y * w.strides[0] + ky * w.row_dilation - w.origin[0]
    apart = _column_stride(w)
    # The columns of the buffer that lie in the image.
    begin = min(max(-(-w.origin[1] // apart), 0), layout.columns)
    end = min((width + w.origin[1] - 1) // apart + 1, layout.columns)
    count = max(0, min(end - begin, filled))
    if count == 0:
        return ()
    left = begin * apart - w.origin[1]
    source = w.source.view(w.source.elements)
    at = ((image * height + row) * width + first * w.strides[1] + left) * w.pixel_pitch
    at = at + w.first_channel
    slot = Binary("%", y * w.strides[0] + ky, Imm(w.window[0])) if layout.ring else ky
    to = Imm(begin * layout.column) + slot * depth
    inside = _expand(w, layout, source, at, to, count)
    last = (w.rows - 1) * w.strides[0] + (w.window[0] - 1) * w.row_dilation - w.origin[0]
    if w.origin[0] == 0 and last < height:
        return (loop(Var("ky"), len(rows), *inside),)
    outside = _blank_row(w, layout, to, count)
    condition = all_of(Binary(">=", row, Imm(0)), Binary("<", row, Imm(height)))
    return (loop(Var("ky"), len(rows), If(condition, inside, (outside,))),)


def _blank_row(w: WeightedSum, layout: WindowLayout, to: Expr, count: int) -> Stmt:
    """``count`` pixels of a row outside of the image."""
    lines = buffer_of(layout)
    if w.depth % 2 == 0:
        return blank(lines, to, _padding(w), count, w.depth, layout.column)
    pixel, element = Var("pixel"), Var("i")
    index = to + pixel * layout.column + element
    store = Store(lines, (index,), Imm(w.padding, I16))
    return loop(pixel, count, loop(element, w.depth, store, parallel=True), parallel=True)


def _expand(
    w: WeightedSum, layout: WindowLayout, source: Buffer, at: Expr, to: Expr, count: int
) -> tuple[Stmt, ...]:
    """``count`` pixels of one row of the image."""
    lines = buffer_of(layout)
    if has_expand(w, layout):
        micro = expand_micro(w, layout).name
        return (Invoke(micro, (Pointer(source, at), Pointer(lines, to)), (Imm(count),)),)
    pixel, element = Var("pixel"), Var("i")
    stride = _column_stride(w) * w.pixel_pitch
    element_value = Load(source, (at + pixel * stride + element,))
    value = element_value if w.source.dtype is I16 else Cast(I16, element_value)
    store = Store(lines, (to + pixel * layout.column + element,), value)
    return (loop(pixel, count, loop(element, w.depth, store, parallel=True), parallel=True),)
