"""``pad``: a tensor with a border around it: a constant, or its own elements mirrored.

The result is cut into boxes, the tensor itself and its borders, and each box is one copy or fill:
no element asks where it lies. ``fold_pad`` takes constant borders into convolutions behind them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, Node, TensorType
from utvm.ir.loop import Imm, Stmt
from utvm.op.axes import Move, Slice, copy_box, fill_box
from utvm.op.base import Arrays, Op, Types, expect, expect_inputs
from utvm.op.builder import GraphBuilder
from utvm.op.channels import Channels, same_channels
from utvm.op.definition import Definition
from utvm.op.quantized import quant_of
from utvm.op.ranges import MOST_CHANNELS, Interval, Operands
from utvm.support.errors import UnsupportedError

# As many loop nests as one kernel may have: four axes with both borders make 81.
MOST_PIECES = 81
MODES = ("constant", "reflect", "symmetric")


@dataclass(frozen=True)
class PadAttrs(Attrs):
    """Elements before and after, per axis. ``value`` is the stored constant; None means real zero.

    ``mode``: constant, reflect (the edge element is not repeated) or symmetric (it is).
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    mode: str = "constant"
    value: float | int | None = None


def _infer(inputs: Types, attrs: PadAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 1)
    x = inputs[0]
    expect(len(attrs.before) == len(attrs.after) == len(x.shape), "one entry per axis",
           str(len(x.shape)), f"{len(attrs.before)} and {len(attrs.after)}")  # fmt: skip
    expect(attrs.mode in MODES, "unknown mode", ", ".join(MODES), attrs.mode)
    sides = (*attrs.before, *attrs.after)
    expect(min(sides, default=0) >= 0, "padding is not negative", found=sides)
    if attrs.mode != "constant":
        for size, border in zip(x.shape * 2, sides, strict=True):
            most = size - (attrs.mode == "reflect")
            expect(border <= most, "a mirrored border exceeds the tensor", str(most), border)
        pieces = prod(
            1 + sum(map(bool, pair)) for pair in zip(attrs.before, attrs.after, strict=True)
        )
        if pieces > MOST_PIECES:
            raise UnsupportedError(
                "too many axes have mirrored borders",
                expected=f"at most {MOST_PIECES} pieces of the result",
                found=str(pieces),
            )
    if attrs.value is not None:
        _expect_element(attrs.value, x.dtype)
    shape = zip(attrs.before, x.shape, attrs.after, strict=True)
    return (TensorType(tuple(b + n + a for b, n, a in shape), x.dtype),)


def _expect_element(value: float, dtype: DType) -> None:
    """Refuses a border that the tensor's type cannot hold."""
    if dtype.is_float:
        fits = math.isfinite(value) and abs(value) <= float(np.finfo(np.float32).max)
        expect(fits or math.isinf(value), "the padding is not a float32", found=value)
        return
    expect(math.isfinite(value) and value == int(value) and
           dtype.minimum <= value <= dtype.maximum, "the padding is not an element of the tensor",
           f"a whole number from {dtype.minimum} to {dtype.maximum}", value)  # fmt: skip


def _reference(inputs: Arrays, attrs: PadAttrs) -> tuple[np.ndarray, ...]:
    borders = list(zip(attrs.before, attrs.after, strict=True))
    if attrs.mode == "constant":
        return (
            np.pad(inputs[0], borders, constant_values=_value(attrs, inputs[0].dtype.kind == "f")),
        )
    return (np.pad(inputs[0], borders, mode=attrs.mode),)  # type: ignore[call-overload]


def _value(attrs: PadAttrs, is_float: bool) -> float | int:
    """What a constant border holds."""
    return float(attrs.value or 0) if is_float else int(attrs.value or 0)


def _define(d: Definition) -> tuple[Stmt, ...]:
    return _constant(d) if d.attrs.mode == "constant" else _mirrored(d)


def _constant(d: Definition) -> tuple[Stmt, ...]:
    """The tensor, and per axis the boxes in front and behind it.

    These boxes are as wide as the tensor on outer axes, as the result on inner ones.
    """
    attrs: PadAttrs = d.attrs
    dtype = d.output.dtype
    value = Imm(_value(attrs, dtype.is_float), dtype)
    sizes = list(zip(d.buffers[0].shape, attrs.before, d.output.shape, strict=True))
    inside = [Move(n, Slice(n), Slice(out, before)) for n, before, out in sizes]
    whole = [Move(out, Slice(out), Slice(out)) for _, _, out in sizes]
    body: tuple[Stmt, ...] = ()
    for axis, (n, before, out) in enumerate(sizes):
        for side, begin, count in (("b", 0, before), ("a", before + n, out - before - n)):
            border = Move(count, Slice(count), Slice(out, begin))
            if count:
                moves = [*inside[:axis], border, *whole[axis + 1 :]]
                body += fill_box(d, value, moves, f"{side}{axis}_")
    return body + copy_box(d, 0, inside, "i")


def _mirrored(d: Definition) -> tuple[Stmt, ...]:
    """Every combination of the tensor's middle and its two mirrored borders per axis."""
    attrs: PadAttrs = d.attrs
    skip = attrs.mode == "reflect"
    pieces = [
        tuple(_pieces(n, before, after, out, skip))
        for n, before, after, out in zip(
            d.buffers[0].shape, attrs.before, attrs.after, d.output.shape, strict=True
        )
    ]
    body: tuple[Stmt, ...] = ()
    for number, moves in enumerate(product(*pieces)):
        body += copy_box(d, 0, moves, f"i{number}_")
    return body


def _pieces(n: int, before: int, after: int, out: int, skip: bool) -> Iterator[Move]:
    """Along one axis: the tensor, and backwards the borders in front of and behind it."""
    yield Move(n, Slice(n), Slice(out, before))
    step = 1 if skip else 0
    if before:
        yield Move(before, Slice(n, before - 1 + step, -1), Slice(out))
    if after:
        yield Move(after, Slice(n, n - 1 - step, -1), Slice(out, before + n))


def _legalize(b: GraphBuilder, node: Node) -> tuple[str, ...] | None:
    """Real zero in integers is the zero point."""
    attrs: PadAttrs = node.attrs  # type: ignore[assignment]
    result = node.outputs[0]
    if not any((*attrs.before, *attrs.after)):
        return (node.inputs[0],)
    if b.quantization(result) is None or attrs.value is not None or attrs.mode != "constant":
        return None
    attrs = replace(attrs, value=quant_of(b.value(result)).zero_point)
    return (b.emit("pad", node.inputs, attrs, node.name),)


def _ranges(operands: Operands, result: TensorType, attrs: PadAttrs) -> Interval | None:
    x, channels = operands[0].interval, result.shape[-1]
    if attrs.mode != "constant":
        return x.hull
    value = _value(attrs, is_float=False)
    assert isinstance(value, int)
    if any((*attrs.before[:-1], *attrs.after[:-1])):
        x = x.with_value(value)
    if not attrs.before[-1] and not attrs.after[-1]:
        return x
    if channels > MOST_CHANNELS:
        return x.hull.with_value(value)
    sides = (attrs.before[-1], attrs.after[-1])
    x = x.over(channels - sum(sides))
    low, high = (np.pad(end, sides, constant_values=value) for end in (x.low, x.high))
    return Interval(low, high)


def _channels(inputs: Types, result: TensorType, attrs: PadAttrs) -> Channels | None:
    if not result.shape or attrs.before[-1] or attrs.after[-1]:
        return None
    return same_channels(inputs, result, attrs)


OP = Op(
    "pad",
    PadAttrs,
    _infer,
    reference=_reference,
    define=_define,
    legalize=_legalize,
    ranges=_ranges,
    channels=_channels,
)
