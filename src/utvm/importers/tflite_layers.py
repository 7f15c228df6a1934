"""TFLite operators with weights or windows: convolutions, fully connected layers, pools,
resizing.

Each function is one row of the table in ``tflite_ops``: it reads one operator through its context
and emits nodes. SAME and VALID become explicit numbers here. Element types have been checked by
the table.
"""

from __future__ import annotations

from math import prod

from utvm.importers.tflite_context import OpContext
from utvm.importers.tflite_model import Tensor
from utvm.ir.dtype import DType
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.dense import DenseAttrs
from utvm.op.pool2d import AvgPool2dAttrs, MaxPool2dAttrs
from utvm.op.reshape import ReshapeAttrs
from utvm.op.resize import ResizeAttrs
from utvm.op.transpose_conv2d import TransposeConv2dAttrs

Pair = tuple[int, int]

_SAME, _VALID = 0, 1
# TensorType of the schema.
_INT32 = 2


def conv_2d(ctx: OpContext) -> None:
    x, weight = ctx.shape(0, rank=4), ctx.shape(1, rank=4)
    check_weights(ctx, 1, 2)
    strides, dilation = _strides(ctx), _dilation(ctx)
    attrs = Conv2dAttrs(
        strides=strides,
        dilation=dilation,
        padding=window_padding(ctx, x[1:3], weight[1:3], strides, dilation),
        activation=ctx.activation(),
        int32_bias=_has_int32_bias(ctx),
    )
    ctx.emit("conv2d", ctx.names(0, 1, 2), attrs)


def depthwise_conv_2d(ctx: OpContext) -> None:
    """The weights' channels are the result's; ``depth_multiplier`` may only say the same."""
    x, weight = ctx.shape(0, rank=4), ctx.shape(1, rank=4)
    check_weights(ctx, 1, 2)
    multiplier = ctx.integer("depth_multiplier", 0) or weight[3] // x[3]
    if weight[0] != 1 or weight[3] != x[3] * multiplier:
        raise ctx.broken(
            "the weights do not fit the input",
            expected=f"[1, rows, columns, {x[3] * multiplier}]",
            found=list(weight),
        )
    strides, dilation = _strides(ctx), _dilation(ctx)
    attrs = Conv2dAttrs(
        strides=strides,
        dilation=dilation,
        padding=window_padding(ctx, x[1:3], weight[1:3], strides, dilation),
        activation=ctx.activation(),
    )
    ctx.emit("depthwise_conv2d", ctx.names(0, 1, 2), attrs)


def transpose_conv(ctx: OpContext) -> None:
    """Operands: output shape, weights, input, bias. The declared result gives the shape."""
    weight, out = ctx.shape(1, rank=4), ctx.output().shape
    ctx.shape(2, rank=4)
    check_weights(ctx, 1, 3)
    if ctx.constant(0) is not None and ctx.integers(0, "output sizes") != out:
        raise ctx.broken(
            "the output shape operand and the declared result differ",
            expected=list(out),
            found=list(ctx.integers(0, "output sizes")),
        )
    if len(out) != 4:
        raise ctx.broken("the result has the wrong rank", expected="4 dimensions", found=list(out))
    strides = _strides(ctx)
    # It pads as the convolution from its result to its input would.
    top, _, left, _ = window_padding(ctx, out[1:3], weight[1:3], strides, (1, 1))
    attrs = TransposeConv2dAttrs(
        strides=strides,
        padding=(top, left),
        size=(out[1], out[2]),
        activation=ctx.activation(),
        int32_bias=_has_int32_bias(ctx),
    )
    ctx.emit("transpose_conv2d", ctx.names(2, 1, 3), attrs)


def fully_connected(ctx: OpContext) -> None:
    """The input is flattened to rows of the weights' depth, the result brought to its shape."""
    x, weight = ctx.input(0), ctx.shape(1, rank=2)
    if ctx.integer("weights_format"):
        raise ctx.unsupported("shuffled weights are not supported", expected="format 0")
    check_weights(ctx, 1, 2, zero_points=x.dtype is not DType.FLOAT32)
    filters, depth = weight
    rows, rest = divmod(prod(x.shape), depth)
    if rest or not rows:
        raise ctx.broken(
            "the input does not fit the weights",
            expected=f"a multiple of {depth} elements",
            found=list(x.shape),
        )
    kept = (*x.shape[:-1], filters) if ctx.flag("keep_num_dims") else (rows, filters)
    if ctx.output().shape != kept:
        raise ctx.broken(
            "the declared result does not fit the operator",
            expected=list(kept),
            found=list(ctx.output().shape),
        )
    source = ctx.name(0)
    if x.shape != (rows, depth):
        source = ctx.intermediate("reshape", [source], ReshapeAttrs((rows, depth)), x)
    inputs = [source, *ctx.names(1, 2)]
    attrs = DenseAttrs(
        activation=ctx.activation(),
        asymmetric_inputs=ctx.flag("asymmetric_quantize_inputs") and x.dtype is DType.FLOAT32,
    )
    if kept == (rows, filters):
        ctx.emit("dense", inputs, attrs)
    else:
        result = ctx.intermediate("dense", inputs, attrs, ctx.output())
        ctx.emit("reshape", [result], ReshapeAttrs(kept))


def average_pool_2d(ctx: OpContext) -> None:
    ctx.emit("avg_pool2d", ctx.names(0), AvgPool2dAttrs(*_pool(ctx)))


def max_pool_2d(ctx: OpContext) -> None:
    ctx.emit("max_pool2d", ctx.names(0), MaxPool2dAttrs(*_pool(ctx)))


def _pool(ctx: OpContext) -> tuple[Pair, Pair, tuple[int, int, int, int], str]:
    """Window, strides, padding and activation; the kernels do not rescale."""
    check_same_quantization(ctx, ctx.input(0), ctx.output())
    window, strides = ctx.pair("filter_height", "filter_width"), _strides(ctx)
    padding = window_padding(ctx, ctx.shape(0, rank=4)[1:3], window, strides, (1, 1))
    return window, strides, padding, ctx.activation()


def resize(ctx: OpContext) -> None:
    x, out = ctx.shape(0, rank=4), ctx.output().shape
    if len(out) != 4 or (x[0], x[3]) != (out[0], out[3]):
        raise ctx.broken(
            "the declared result does not fit the operator",
            expected=f"[{x[0]}, rows, columns, {x[3]}]",
            found=list(out),
        )
    if ctx.constant(1) is not None and ctx.integers(1, "sizes") != out[1:3]:
        raise ctx.broken(
            "the size operand and the declared result differ",
            expected=list(out[1:3]),
            found=list(ctx.integers(1, "sizes")),
        )
    if ctx.flag("align_corners") and ctx.flag("half_pixel_centers"):
        raise ctx.broken("align_corners and half_pixel_centers exclude each other")
    attrs = ResizeAttrs(
        size=(out[1], out[2]),
        align_corners=ctx.flag("align_corners"),
        half_pixel_centers=ctx.flag("half_pixel_centers"),
    )
    check_same_quantization(ctx, ctx.input(0), ctx.output())
    op = {"RESIZE_BILINEAR": "resize_bilinear", "RESIZE_NEAREST_NEIGHBOR": "resize_nearest"}
    ctx.emit(op[ctx.operator.name], ctx.names(0), attrs)


def window_padding(
    ctx: OpContext, size: tuple[int, ...], window: tuple[int, ...], strides: Pair, dilation: Pair
) -> tuple[int, int, int, int]:
    """Rows above and below, columns left and right; an odd one goes below or right."""
    padding = ctx.integer("padding")
    if padding not in (_SAME, _VALID):
        raise ctx.unsupported("unknown padding", expected="SAME or VALID", found=padding)
    sides: list[int] = []
    for extent, taps, stride, step in zip(size, window, strides, dilation, strict=True):
        reach = (taps - 1) * step + 1
        positions = -(-extent // stride)
        total = max((positions - 1) * stride + reach - extent, 0) if padding == _SAME else 0
        sides += [total // 2, total - total // 2]
    top, bottom, left, right = sides
    return top, bottom, left, right


def check_weights(ctx: OpContext, weight: int, bias: int, zero_points: bool = False) -> None:
    """Signed weights are symmetric unless the kernel subtracts ``zero_points``; so is the bias."""
    tensor = ctx.input(weight)
    if tensor.dtype is DType.INT8 and tensor.quantization and not zero_points:
        _check_zero(ctx, tensor, "weights")
    if ctx.has(bias) and ctx.input(bias).quantization:
        _check_zero(ctx, ctx.input(bias), "a bias")


def _check_zero(ctx: OpContext, tensor: Tensor, what: str) -> None:
    assert tensor.quantization is not None
    if any(tensor.quantization.zero_points):
        raise ctx.unsupported(
            f"{what} with a zero point are not supported"
            if what == "weights"
            else f"{what} with a zero point is not supported",
            expected="zero point 0",
            found=next(z for z in tensor.quantization.zero_points if z),
        )


def check_same_quantization(ctx: OpContext, *tensors: Tensor) -> None:
    """For kernels that copy or compare quantized numbers as they are."""
    first = tensors[0].quantization
    for tensor in tensors[1:]:
        if tensor.quantization != first:
            raise ctx.unsupported(
                "operands and result must have the same quantization",
                expected=_text(tensors[0]),
                found=_text(tensor),
            )


def _text(tensor: Tensor) -> str:
    quantization = tensor.quantization
    if quantization is None:
        return "none"
    return f"scale {quantization.scale:g}, zero point {quantization.zero_point}"


def _has_int32_bias(ctx: OpContext) -> bool:
    """Whether int16 activations accumulate in 32 bits; the bias's own type does not say so."""
    return ctx.integer("quantized_bias_type") == _INT32


def _strides(ctx: OpContext) -> Pair:
    return ctx.pair("stride_h", "stride_w")


def _dilation(ctx: OpContext) -> Pair:
    return ctx.pair("dilation_h_factor", "dilation_w_factor")
