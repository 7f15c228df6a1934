"""``softmax16``: softmax of int16 by two interpolated tables, exactly as TFLite's reference kernel.

Operands: x (int16), ``exp`` (513 samples of exp on [-10, 0] in Q0.15) and ``reciprocal`` (513
samples of 1 / (1 + x) on [0, 1]). The difference to the row's maximum times
``multiplier * 2^(shift - 31)`` is in steps of 10/65535. Made by ``softmax``'s legalization.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, TensorType
from utvm.ir.loop import (
    Alloc,
    Binary,
    Call,
    Cast,
    Expr,
    Imm,
    Let,
    Load,
    Stmt,
    Store,
    Var,
    clamp,
    loop,
)
from utvm.op.base import (
    Arrays,
    Constants,
    Op,
    Types,
    constant_operand,
    expect,
    expect_inputs,
    expect_range,
)
from utvm.op.definition import Definition, cast, register
from utvm.op.quantize_softmax import (
    LUT16_STEPS,
    MOST_SHIFT,
    Softmax16Params,
    exp_lut16,
    reciprocal_lut16,
    softmax16_reference,
)
from utvm.op.softmax_rows import Rows

I16, I32 = DType.INT16, DType.INT32
# The sum of so many exponentials fits an int32.
MOST = 1 << 16


@dataclass(frozen=True)
class Softmax16Attrs(Attrs):
    """The fixed-point factor from input steps to table steps."""

    multiplier: int
    shift: int


def _infer(inputs: Types, attrs: Softmax16Attrs) -> tuple[TensorType, ...]:
    expect_inputs(inputs, 3)
    x = inputs[0]
    expect(x.dtype is I16 and len(x.shape) > 0, "softmax16 takes rows",
           "int16 of rank 1 or more", x)  # fmt: skip
    expect(x.shape[-1] < MOST, "the row is too long", f"below {MOST}", x.shape[-1])
    for table in inputs[1:]:
        expected = TensorType((LUT16_STEPS + 1,), I16)
        expect(table == expected, "wrong table", str(expected), table)
    expect_range("the multiplier", attrs.multiplier, 0, (1 << 31) - 1)
    expect_range("the shift", attrs.shift, -31, MOST_SHIFT)
    return (x,)


def _check(inputs: Types, data: Constants, attrs: Softmax16Attrs) -> None:
    for k, table in ((1, exp_lut16()), (2, reciprocal_lut16())):
        found = constant_operand(data[k], "the tables of softmax16")
        expect(np.array_equal(found, table), "the table is not the one of softmax16")


def _reference(inputs: Arrays, attrs: Softmax16Attrs) -> tuple[np.ndarray, ...]:
    params = Softmax16Params(attrs.multiplier, attrs.shift)
    return (softmax16_reference(inputs[0], params).astype(np.int16),)


def _define(d: Definition) -> tuple[Stmt, ...]:
    """Per row: the maximum, the exponentials and their sum, its reciprocal, the products."""
    attrs: Softmax16Attrs = d.attrs
    rows = Rows(d)
    powers = d.workspace("powers", I16, rows.depth)
    total = register("total", I32)
    r, k, c = Var("r"), Var("k"), Var("c")
    difference = rows.element(k) - rows.largest
    factor = (Imm(attrs.multiplier), Imm(attrs.shift))
    scaled = Call("requantize", (difference, *factor), I32)
    summing = (
        Let(Var("at"), clamp(scaled + 32767, -32768, 32767)),
        *_lookup(d, 1, Var("at"), "power"),
        Store(powers, (k,), Cast(I16, Var("power"))),
        Store(total, (), Load(total) + Var("power")),
    )
    product = cast(Load(powers, (c,)), I32) * Var("reciprocal")
    half = Binary("<<", Imm(1), Var("right") - 1)
    result = Cast(I16, clamp((product + half) >> Var("right"), 0, 32767))
    body = (
        *rows.find_largest(r),
        Alloc(total),
        Store(total, (), Imm(0)),
        loop(k, rows.depth, *summing),
        *_reciprocal(d, Load(total)),
        loop(c, rows.depth, *rows.store(c, result), parallel=True),
    )
    return rows.around(body)


def _reciprocal(d: Definition, total: Expr) -> tuple[Stmt, ...]:
    """Names ``reciprocal`` (Q0.15) and ``right``, the bits that the products lose.

    The sum's leading 17 bits, rounded, are the position in the table.
    """
    sum_, zeros, normal = Var("sum"), Var("zeros"), Var("normal")
    rounded = (normal >> 14) + Binary("&", normal >> 13, Imm(1))
    position = clamp(rounded - ((1 << 15) + (1 << 16)), -32768, 32767)
    return (
        Let(sum_, total),
        Let(zeros, Call("clz", (sum_,), I32)),
        Let(normal, Call("shift_left_wrapping", (sum_, zeros - 1), I32)),
        Let(Var("position"), position),
        *_lookup(d, 2, Var("position"), "reciprocal"),
        Let(Var("right"), Imm(31) - zeros),
    )


def _lookup(d: Definition, table: int, at: Var, name: str) -> tuple[Stmt, ...]:
    """Names the interpolated entry of a table: nine bits of position, seven of fraction."""
    index, low = Var(f"{name}_index"), Var(f"{name}_low")
    high = cast(d.load(table, index + 1), I32)
    fraction = Binary("&", at, Imm(0x7F))
    return (
        Let(index, (at >> 7) + (LUT16_STEPS // 2)),
        Let(low, cast(d.load(table, index), I32)),
        Let(Var(name), low + (((high - low) * fraction + 64) >> 7)),
    )


OP = Op(
    "softmax16",
    Softmax16Attrs,
    _infer,
    _check,
    reference=_reference,
    define=_define,
    operands=("x", "exp", "reciprocal"),
)
