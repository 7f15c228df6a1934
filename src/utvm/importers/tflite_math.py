"""TFLite operators on elements and along axes: arithmetic, activations, reductions, conversions.

Each function is one row of the table in ``tflite_ops``: it reads one operator through its context
and emits one node. Element types have been checked by the table.
"""

from __future__ import annotations

from utvm.importers.tflite_context import OpContext
from utvm.op.cast import CastAttrs
from utvm.op.elementwise import BinaryAttrs
from utvm.op.softmax import SoftmaxAttrs


def sum_of_two(ctx: OpContext) -> None:
    """ADD and SUB, which have a variant for int16 scales that are powers of two."""
    attrs = BinaryAttrs(activation=ctx.activation(), power_of_two=ctx.flag("pot_scale_int16"))
    ctx.emit(ctx.operator.name.lower(), ctx.names(0, 1), attrs)


def product_of_two(ctx: OpContext) -> None:
    """MUL and DIV."""
    attrs = BinaryAttrs(activation=ctx.activation())
    ctx.emit(ctx.operator.name.lower(), ctx.names(0, 1), attrs)


def plain_binary(ctx: OpContext) -> None:
    """MAXIMUM and MINIMUM."""
    ctx.emit(ctx.operator.name.lower(), ctx.names(0, 1))


def plain_unary(ctx: OpContext) -> None:
    """Operators without attributes whose name is the schema's."""
    ctx.emit(ctx.operator.name.lower(), ctx.names(0))


def softmax(ctx: OpContext) -> None:
    beta = ctx.real("beta")
    if beta <= 0:
        raise ctx.broken("beta is not positive", expected="a positive number", found=beta)
    ctx.emit("softmax", ctx.names(0), SoftmaxAttrs(beta))


def cast(ctx: OpContext) -> None:
    ctx.emit("cast", ctx.names(0), CastAttrs(ctx.output().type_name))


def normal_axis(ctx: OpContext, axis: int, rank: int) -> int:
    """The axis counted from the front."""
    if not -rank <= axis < rank:
        raise ctx.broken("the axis does not exist", expected=f"{-rank} to {rank - 1}", found=axis)
    return axis % rank
