"""TFLite operators on elements and along axes: arithmetic, activations, reductions, conversions.

Each function is one row of the table in ``tflite_ops``: it reads one operator through its context
and emits one node. Element types have been checked by the table.
"""

from __future__ import annotations

from utvm.importers.tflite_context import OpContext
from utvm.op.arg_max import ArgMaxAttrs
from utvm.op.cast import CastAttrs
from utvm.op.elementwise import BinaryAttrs
from utvm.op.leaky_relu import LeakyReluAttrs
from utvm.op.quantize import QuantizeAttrs
from utvm.op.reduce import ReduceAttrs
from utvm.op.relu import ReluAttrs
from utvm.op.softmax import SoftmaxAttrs

_ACTIVATIONS = {"RELU": "relu", "RELU6": "relu6", "RELU_N1_TO_1": "relu_n1_to_1"}


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


def relu(ctx: OpContext) -> None:
    ctx.emit("relu", ctx.names(0), ReluAttrs(_ACTIVATIONS[ctx.operator.name]))


def leaky_relu(ctx: OpContext) -> None:
    ctx.emit("leaky_relu", ctx.names(0), LeakyReluAttrs(ctx.real("alpha")))


def softmax(ctx: OpContext) -> None:
    beta = ctx.real("beta")
    if beta <= 0:
        raise ctx.broken("beta is not positive", expected="a positive number", found=beta)
    ctx.emit("softmax", ctx.names(0), SoftmaxAttrs(beta))


def reduction(ctx: OpContext) -> None:
    """MEAN, SUM, REDUCE_MAX and REDUCE_MIN over constant axes."""
    rank = len(ctx.shape(0))
    axes = sorted({normal_axis(ctx, axis, rank) for axis in ctx.integers(1, "axes")})
    attrs = ReduceAttrs(axes=tuple(axes), keep_dims=ctx.flag("keep_dims"))
    ctx.emit(ctx.operator.name.lower(), ctx.names(0), attrs)


def arg_extreme(ctx: OpContext) -> None:
    """ARG_MAX and ARG_MIN."""
    axes = ctx.integers(1, "axes")
    if len(axes) != 1:
        raise ctx.broken("the operator takes one axis", expected="1", found=len(axes))
    axis = normal_axis(ctx, axes[0], len(ctx.shape(0)))
    ctx.emit(
        ctx.operator.name.lower(),
        ctx.names(0),
        ArgMaxAttrs(axis=axis, dtype=ctx.output().type_name),
    )


def quantize(ctx: OpContext) -> None:
    for where, tensor in ctx.tensors():
        if tensor.quantization is None and tensor.type_name != "float32":
            raise ctx.broken("quantized numbers need a scale", found=f"none at {where}")
    ctx.emit("quantize", ctx.names(0), QuantizeAttrs(ctx.output().type_name))


def cast(ctx: OpContext) -> None:
    ctx.emit("cast", ctx.names(0), CastAttrs(ctx.output().type_name))


def normal_axis(ctx: OpContext, axis: int, rank: int) -> int:
    """The axis counted from the front."""
    if not -rank <= axis < rank:
        raise ctx.broken("the axis does not exist", expected=f"{-rank} to {rank - 1}", found=axis)
    return axis % rank
