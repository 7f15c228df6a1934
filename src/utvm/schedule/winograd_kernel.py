"""A 3x3 convolution by Winograd's algorithm: the whole kernel.

In: an unscheduled kernel and the module's constants. Out: the kernel, which takes two rows of
results at a time: it copies four rows of pixels with their padding, transforms them tile by tile
and multiplies; or None where the kernel is of another shape. Weights take 3.6 times their bytes: in
flash, or, ``expanded`` at each run, in RAM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

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
from utvm.schedule.blank import blank, blanks_of
from utvm.schedule.conv_kernel import Scheduled
from utvm.schedule.weighted_sum import Array, WeightedSum, known_bias, read_weighted_sum
from utvm.schedule.winograd_block import (
    FILTERS,
    PRODUCTS,
    MultiplyBuilder,
    fits_int32,
    transform_micro,
    weights_micro,
)

TILES = 2
_LINES = 4


def schedule_winograd(
    function: Function, constants: Mapping[str, Array], expanded: bool = False
) -> Scheduled | None:
    """The kernel by Winograd's algorithm, or None."""
    w = read_weighted_sum(function, constants)
    if w is None or not is_winograd(w):
        return None
    biases = known_bias(w.bias, w.filters, constants)
    if biases is None:
        return None
    tiles = w.columns // 2
    parts: list[tuple[int, int, MultiplyBuilder, Function]] = []
    for first, count, width in (
        (0, tiles // TILES, TILES),
        (tiles - tiles % TILES, tiles % TILES, 1),
    ):
        if count:
            builder = MultiplyBuilder(w, width, biases, constants)
            micro = builder.build()
            if micro is None:
                return None
            parts.append((first, count, builder, micro))
    return _kernel(w, parts, expanded)


def is_winograd(w: WeightedSum) -> bool:
    """3x3, stride 1, whole tiles and blocks."""
    return (
        w.window == (3, 3)
        and w.narrow
        and w.source.dtype is DType.INT8
        and w.strides == (1, 1)
        and w.row_dilation == 1
        and w.rows % 2 == 0
        and w.columns % 2 == 0
        and w.depth % 4 == 0
        and w.filters % FILTERS == 0
        and fits_int32(w)
    )


def stream_bytes(w: WeightedSum) -> int:
    """What the transformed weights take."""
    return 2 * PRODUCTS * w.depth * w.filters


def _kernel(
    w: WeightedSum, parts: list[tuple[int, int, MultiplyBuilder, Function]], expanded: bool
) -> Scheduled:
    line = (w.columns + 2) * w.depth
    tiles = w.columns // 2
    lines = Buffer("lines", w.source.dtype, (_LINES * line,), "workspace")
    tile = PRODUCTS * w.depth
    values = Buffer("values", DType.INT16, ((tiles + 1) * tile,), "workspace")
    sums = Buffer("sums", DType.INT32, (PRODUCTS * TILES * FILTERS,), "workspace")
    apart = any(builder.apart for _, _, builder, _ in parts)
    stream, first_of_all, data = _stream(w, parts[0][2], expanded)
    transform = transform_micro(w, line)
    n, strip = Var("n"), Var("strip")
    calls: list[Stmt] = []
    for first, count, builder, micro in parts:
        pointers = [Pointer(stream, Imm(0))]
        results: list[Pointer] = []
        for operand in builder.epilogue.operands.values():
            offset = operand.outer + Imm(2 * first * operand.step("x"))
            offset = offset + strip * (2 * operand.step("y"))
            pointer = Pointer(operand.buffer.view(operand.buffer.elements), offset)
            (results if operand.buffer.scope == "output" else pointers).append(pointer)
        extra = (Pointer(sums, Imm(0)),) if builder.apart else ()
        arguments = (*pointers, *results, Pointer(values, Imm(first * tile)), *extra)
        calls.append(Invoke(micro.name, arguments, (Imm(count),)))
    expand = Invoke(
        transform.name, (Pointer(lines, Imm(0)), Pointer(values, Imm(tile))), (Imm(tiles),)
    )
    rows = loop(strip, w.rows // 2, *_copy(w, lines, n, strip * 2), expand, *calls)
    whole = (blank(lines, Imm(0), w.padding, 1, lines.elements),) if w.padded else ()
    tables = {o.buffer.name for _, _, b, _ in parts for o in b.epilogue.operands.values()}
    kept = tuple(b for b in w.function.constants if b.name in tables)
    own = (stream,) if expanded else ()
    body = simplify_body((*first_of_all, loop(n, w.image[0], *whole, rows)))
    function = replace(
        w.function,
        body=body,
        workspace=(values, *((sums,) if apart else ()), lines, *own),
        constants=(*(Buffer(k, dtype_of(a), a.shape, "const") for k, a in data.items()), *kept),
    )
    made = (transform, *((weights_micro(w),) if expanded else ()), *(m for *_, m in parts))
    micros = (*made, *blanks_of(body))
    return Scheduled(function, micros, data)


def _stream(
    w: WeightedSum, builder: MultiplyBuilder, expanded: bool
) -> tuple[Buffer, tuple[Stmt, ...], dict[str, Array]]:
    """The stream of weights and constants, what fills it if it is in RAM, and arrays by name."""
    name = w.function.name
    words = builder.block_words
    blocks = w.filters // FILTERS
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
    expand = Invoke(weights_micro(w).name, pointers, (Imm(FILTERS),))
    return stream, (loop(block, blocks, expand, loop(i, per_block, copy, parallel=True)),), arrays


def _copy(w: WeightedSum, lines: Buffer, n: Expr, y: Expr) -> tuple[Stmt, ...]:
    """Four rows of pixels from row ``y`` of the padded image on."""
    _, height, width, depth = w.image
    top, left = w.origin
    ky, i = Var("ky"), Var("i")
    row = y + ky - top
    size = lines.elements // _LINES
    count = min(width * depth, size - left * depth)
    source = w.source.view(w.source.elements)
    word = ky * size + left * depth + i * 4
    at = (n * height + row) * (width * depth) + i * 4
    copy = loop(i, count // 4, Store(lines, (word,), Load(source, (at,), 4), 4), parallel=True)
    if top == 0 and w.rows + 2 <= height:
        return (loop(ky, _LINES, copy),)
    outside = blank(lines, ky * size + left * depth, w.padding, 1, count)
    condition = all_of(Binary(">=", row, Imm(0)), Binary("<", row, Imm(height)))
    return (loop(ky, _LINES, If(condition, (copy,), (outside,))),)
