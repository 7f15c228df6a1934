"""``lut``: every element of an 8-bit tensor looked up in a table of 256 entries.

Operands: x (int8 or uint8) and ``table``: entry k is the result for the type's minimum plus k, in
any element type. This is the plain form of every elementwise function of one quantized 8-bit
tensor; ``emit_lut`` and ``emit_table_of`` make it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from utvm.ir.dtype import DType
from utvm.ir.graph import Node, TensorType
from utvm.ir.loop import INT32, Expr
from utvm.op.base import Arrays, NoAttrs, Op, Types, expect, expect_inputs
from utvm.op.builder import GraphBuilder
from utvm.op.definition import Element, cast
from utvm.op.fixed_point import Int64Array, int64_of
from utvm.op.quantize_activation import table_of
from utvm.op.ranges import Interval, Operands

BYTES = (DType.INT8, DType.UINT8)


def _infer(inputs: Types, attrs: NoAttrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 2)
    x, table = inputs
    expect(x.dtype in BYTES, "only 8-bit numbers are looked up", "int8 or uint8", x)
    expect(table.shape == (256,), "wrong table", "256 entries", table)
    return (TensorType(x.shape, table.dtype),)


def _reference(inputs: Arrays, attrs: NoAttrs) -> tuple[np.ndarray, ...]:
    x, table = inputs
    return (table[int64_of(x) - np.iinfo(x.dtype).min],)


def _compute(element: Element) -> Expr:
    x = element.arg(0)
    index = cast(x, INT32)
    if x.dtype.minimum:
        index = index - x.dtype.minimum
    return element.load(1, (index,))


def emit_lut(b: GraphBuilder, x: str, table: npt.ArrayLike, dtype: DType) -> str:
    """The entries of ``table``, as ``dtype``, that x selects."""
    data = np.asarray(table).astype(dtype.numpy)
    return b.emit("lut", [x, b.constant(data, "table")])


def emit_table_of(
    b: GraphBuilder, x: str, function: Callable[[Int64Array], npt.ArrayLike], dtype: DType
) -> str:
    """``function`` of x, computed now for every value that x can have."""
    return emit_lut(b, x, table_of(function, b.type_of(x).dtype), dtype)


def emit_binary_lut(
    b: GraphBuilder,
    node: Node,
    function: Callable[[Int64Array, Int64Array], npt.ArrayLike],
    dtype: DType,
) -> str | None:
    """``function`` of two 8-bit operands where only one varies; None where both do.

    The other one is a constant of one element, or the same value.
    """
    left, right = node.inputs
    if any(b.type_of(name).dtype not in BYTES for name in node.inputs):
        return None
    if left == right:
        return emit_table_of(b, left, lambda v: function(v, v), dtype)
    known = [b.constant_of(name) for name in node.inputs]
    shape = b.type_of(node.outputs[0]).shape
    for x, k in ((left, 1), (right, 0)):
        data = known[k]
        if data is None or data.size != 1 or b.type_of(x).shape != shape:
            continue
        fixed = int64_of(data.reshape(-1))
        if k == 1:
            return emit_table_of(b, x, lambda v, f=fixed: function(v, f), dtype)  # type: ignore[misc]
        return emit_table_of(b, x, lambda v, f=fixed: function(f, v), dtype)  # type: ignore[misc]
    return None


def _ranges(operands: Operands, result: TensorType, attrs: NoAttrs) -> Interval | None:
    """Least and greatest of the entries that each channel can select."""
    x, table = operands
    if table.data is None:
        return None
    first = x.type.dtype.minimum
    ends = zip((x.interval.low - first).tolist(), (x.interval.high - first).tolist(), strict=True)
    entries = [int64_of(table.data[low : high + 1]) for low, high in ends]
    return Interval(
        np.array([e.min() for e in entries], np.int64),
        np.array([e.max() for e in entries], np.int64),
    )


OP = Op(
    "lut",
    NoAttrs,
    _infer,
    reference=_reference,
    compute=_compute,
    elementwise=True,
    operands=("x", "table"),
    tables=(1,),
    ranges=_ranges,
)
