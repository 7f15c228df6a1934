"""The table of operators: name to ``Op``.

A new operator is one file of this folder and one row here. Everything that works on graphs gets
``find_op`` as an argument.
"""

from __future__ import annotations

import difflib

from utvm.op import (
    add,
    arg_max,
    cast,
    clip,
    concat,
    conv2d,
    copy,
    dense,
    depthwise_conv2d,
    dequantize,
    div,
    gather,
    hard_swish,
    leaky_relu,
    logistic,
    lut,
    maximum,
    minimum,
    mul,
    pad,
    pool2d,
    quantize,
    quantize_dynamic,
    reduce,
    relu,
    requantize,
    requantize_double,
    requantize_linear,
    requantize_long,
    reshape,
    resize,
    shift,
    sigmoid16,
    softmax,
    softmax16,
    softmax_table,
    strided_slice,
    sub,
    sum_linear,
    tanh,
    transpose,
    transpose_conv2d,
    transpose_conv2d_phases,
)
from utvm.op.base import Op
from utvm.support.errors import ModelError

OPS: dict[str, Op] = {
    op.name: op
    for op in (
        add.OP,
        arg_max.ARG_MAX,
        arg_max.ARG_MIN,
        cast.OP,
        clip.OP,
        concat.OP,
        conv2d.OP,
        copy.OP,
        dense.OP,
        depthwise_conv2d.OP,
        dequantize.OP,
        div.DIV_REQUANTIZE,
        div.OP,
        gather.OP,
        hard_swish.OP,
        leaky_relu.LEAKY_REQUANTIZE,
        leaky_relu.OP,
        logistic.OP,
        lut.OP,
        maximum.OP,
        minimum.OP,
        mul.OP,
        pad.OP,
        pool2d.AVG_POOL2D,
        pool2d.MAX_POOL2D,
        quantize.OP,
        quantize_dynamic.OP,
        reduce.MEAN,
        reduce.REDUCE_MAX,
        reduce.REDUCE_MIN,
        reduce.SUM,
        relu.OP,
        requantize.OP,
        requantize_double.OP,
        requantize_linear.OP,
        requantize_long.OP,
        reshape.OP,
        resize.RESIZE_BILINEAR,
        resize.RESIZE_NEAREST,
        shift.SHIFT_RIGHT,
        shift.SHIFT_RIGHT_ROUNDING,
        sigmoid16.OP,
        softmax.OP,
        softmax16.OP,
        softmax_table.OP,
        strided_slice.OP,
        sub.OP,
        sum_linear.OP,
        tanh.OP,
        transpose.OP,
        transpose_conv2d.OP,
        transpose_conv2d_phases.OP,
    )
}


def find_op(name: str) -> Op:
    """The operator of that name, or ModelError with the nearest known name."""
    if name in OPS:
        return OPS[name]
    near = difflib.get_close_matches(name, OPS, 1)
    hint = f"did you mean {near[0]}?" if near else f"known operators: {', '.join(sorted(OPS))}"
    raise ModelError("unknown operator", found=name[:40], hint=hint)
