"""The table of TFLite operators: what translates each, and which element types it takes.

A row names the function that emits the nodes, the signatures (element types of the data operands
and of the results, as LiteRT's reference kernels have them) and which inputs are data; the rest
are axes, shapes and the like. Whatever no signature fits is refused with the reason. A new
operator is one row here, one function, and one row in ``tflite_options`` if it has options.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from utvm.importers import tflite_arrays, tflite_layers, tflite_math
from utvm.importers.tflite_context import OpContext
from utvm.importers.tflite_model import Tensor
from utvm.ir.dtype import DType
from utvm.op.quantize_types import REFERENCE_TYPES

# Among the operands of a row, the only one that an operator may leave out.
_BIAS = 2

Signature = tuple[tuple[str, ...], str]


@dataclass(frozen=True)
class Row:
    """One operator.

    ``operands``: which inputs the signatures are about; empty means every input, each of the
    signature's one type. The third, a bias, may be left out. ``is_arithmetic``: 8 and 16 bit
    integers must be quantized. ``weight_axis``: the axis along which operand 1 may be quantized
    per channel, and operand 2 with it.
    """

    translate: Callable[[OpContext], None]
    signatures: tuple[Signature, ...]
    operands: tuple[int, ...] = (0,)
    is_arithmetic: bool = False
    weight_axis: int | None = None


def _same(types: str, operands: int = 1) -> tuple[Signature, ...]:
    """Operands and results of one type."""
    return tuple(((t,) * operands, t) for t in types.split())


def _to(results: Iterable[tuple[str, str]]) -> tuple[Signature, ...]:
    """``("float32", "int8 uint8")``: from one type to each of the others."""
    return tuple(((source,), t) for source, targets in results for t in targets.split())


def _kernels(name: str, operands: int = 1) -> tuple[Signature, ...]:
    """Operands and results of one type, those of the reference kernel of that name."""
    types = (dtype.value for dtype in DType if dtype in REFERENCE_TYPES[name])
    return _same(" ".join(types), operands)


ANY = "float32 int8 uint8 int16 int32 int64 uint16 uint32 bool"
QUANTIZED = "float32 int8 uint8 int16"
# Input, weights, bias -> result.
WEIGHTED: tuple[Signature, ...] = (
    (("float32", "float32", "float32"), "float32"),
    (("uint8", "uint8", "int32"), "uint8"),
    (("int8", "int8", "int32"), "int8"),
    (("int16", "int8", "int64"), "int16"),
    (("int16", "int8", "int32"), "int16"),
)
# Float activations, quantized as they come, with integer weights.
HYBRID: Signature = (("float32", "int8", "float32"), "float32")
# int8 and uint8 softmax may also widen to int16.
SOFTMAX = (*_same(QUANTIZED), *_to([("int8", "int16"), ("uint8", "int16")]))
ARG_EXTREME = _to((t, "int32 int64") for t in ("float32", "int8", "uint8", "int32"))
QUANTIZE = _to(
    [
        ("float32", "int8 uint8 int16"),
        ("int8", "int8 uint8 int16"),
        ("uint8", "int8 uint8 int16"),
        ("int16", "int8 int16 int32"),
        ("int32", "int8 int16"),
    ]
)

ROWS: dict[str, Row] = {
    "ADD": Row(tflite_math.sum_of_two, _kernels("ADD", 2), operands=(0, 1), is_arithmetic=True),
    "ARG_MAX": Row(tflite_math.arg_extreme, ARG_EXTREME),
    "ARG_MIN": Row(tflite_math.arg_extreme, ARG_EXTREME),
    "AVERAGE_POOL_2D": Row(
        tflite_layers.average_pool_2d, _kernels("AVERAGE_POOL_2D"), is_arithmetic=True
    ),
    "CAST": Row(tflite_math.cast, _to((t, ANY) for t in ANY.split())),
    "CONCATENATION": Row(tflite_arrays.concatenation, _kernels("CONCATENATION"), operands=()),
    "CONV_2D": Row(
        tflite_layers.conv_2d,
        (*WEIGHTED, HYBRID),
        operands=(0, 1, 2),
        is_arithmetic=True,
        weight_axis=0,
    ),
    "DEPTHWISE_CONV_2D": Row(
        tflite_layers.depthwise_conv_2d,
        (*WEIGHTED[:4], HYBRID),
        operands=(0, 1, 2),
        is_arithmetic=True,
        weight_axis=3,
    ),
    "DEQUANTIZE": Row(
        tflite_math.plain_unary,
        _to((t, "float32") for t in ("int8", "uint8", "int16")),
        is_arithmetic=True,
    ),
    "DIV": Row(
        tflite_math.product_of_two,
        _kernels("DIV", 2),
        operands=(0, 1),
        is_arithmetic=True,
    ),
    "EXPAND_DIMS": Row(tflite_arrays.reshape, _same(ANY)),
    "FULLY_CONNECTED": Row(
        tflite_layers.fully_connected,
        (*WEIGHTED, HYBRID),
        operands=(0, 1, 2),
        is_arithmetic=True,
        weight_axis=0,
    ),
    "GATHER": Row(
        tflite_arrays.gather,
        tuple(((t, i), t) for t in ANY.split() for i in ("int32", "int64", "int16")),
        operands=(0, 1),
    ),
    "HARD_SWISH": Row(tflite_math.plain_unary, _kernels("HARD_SWISH"), is_arithmetic=True),
    "LEAKY_RELU": Row(tflite_math.leaky_relu, _kernels("LEAKY_RELU"), is_arithmetic=True),
    "LOGISTIC": Row(tflite_math.plain_unary, _kernels("LOGISTIC"), is_arithmetic=True),
    "MAXIMUM": Row(tflite_math.plain_binary, _kernels("MAXIMUM", 2), operands=(0, 1)),
    "MAX_POOL_2D": Row(tflite_layers.max_pool_2d, _kernels("MAX_POOL_2D"), is_arithmetic=True),
    "MEAN": Row(tflite_math.reduction, _kernels("MEAN"), is_arithmetic=True),
    "MINIMUM": Row(tflite_math.plain_binary, _kernels("MINIMUM", 2), operands=(0, 1)),
    "MIRROR_PAD": Row(tflite_arrays.mirror_pad, _kernels("PAD")),
    "MUL": Row(tflite_math.product_of_two, _kernels("MUL", 2), operands=(0, 1), is_arithmetic=True),
    "PACK": Row(tflite_arrays.pack, _same(ANY), operands=()),
    "PAD": Row(tflite_arrays.pad, _kernels("PAD")),
    "PADV2": Row(tflite_arrays.pad, _kernels("PAD", 2), operands=(0, 2)),
    "QUANTIZE": Row(tflite_math.quantize, QUANTIZE),
    "REDUCE_MAX": Row(tflite_math.reduction, _kernels("REDUCE_MAX"), is_arithmetic=True),
    "REDUCE_MIN": Row(tflite_math.reduction, _kernels("REDUCE_MIN"), is_arithmetic=True),
    "RELU": Row(tflite_math.relu, _kernels("RELU"), is_arithmetic=True),
    "RELU6": Row(tflite_math.relu, _kernels("RELU6"), is_arithmetic=True),
    "RELU_N1_TO_1": Row(tflite_math.relu, _kernels("RELU_N1_TO_1"), is_arithmetic=True),
    "RESHAPE": Row(tflite_arrays.reshape, _same(ANY)),
    "RESIZE_BILINEAR": Row(tflite_layers.resize, _kernels("RESIZE_BILINEAR"), is_arithmetic=True),
    "RESIZE_NEAREST_NEIGHBOR": Row(tflite_layers.resize, _kernels("RESIZE_NEAREST_NEIGHBOR")),
    "SHAPE": Row(tflite_arrays.shape, _to((t, "int32 int64") for t in ANY.split())),
    "SLICE": Row(tflite_arrays.slice_, _same(ANY)),
    "SOFTMAX": Row(tflite_math.softmax, SOFTMAX, is_arithmetic=True),
    "SPLIT": Row(tflite_arrays.split, _same(ANY), operands=(1,)),
    "SPLIT_V": Row(tflite_arrays.split_v, _same(ANY)),
    "SQUEEZE": Row(tflite_arrays.reshape, _same(ANY)),
    "STRIDED_SLICE": Row(tflite_arrays.strided_slice, _same(ANY)),
    "SUB": Row(tflite_math.sum_of_two, _kernels("SUB", 2), operands=(0, 1), is_arithmetic=True),
    "SUM": Row(tflite_math.reduction, _kernels("SUM"), is_arithmetic=True),
    "TANH": Row(tflite_math.plain_unary, _kernels("TANH"), is_arithmetic=True),
    "TRANSPOSE": Row(tflite_arrays.transpose, _same(ANY)),
    "TRANSPOSE_CONV": Row(
        tflite_layers.transpose_conv,
        WEIGHTED,
        operands=(2, 1, 3),
        is_arithmetic=True,
        weight_axis=0,
    ),
    "UNPACK": Row(tflite_arrays.unpack, _same(ANY)),
}


def translate(ctx: OpContext) -> None:
    """Checks one operator's tensors against its row and emits its nodes."""
    row = ROWS.get(ctx.operator.name)
    if row is None:
        raise ctx.unsupported("this operator is not supported")
    for where, tensor in ctx.tensors():
        if tensor.problem or tensor.is_variable:
            raise ctx.unsupported(
                f"a tensor {tensor.problem or 'keeps state between runs'}", found=where
            )
    positions = row.operands or tuple(range(len(ctx.operator.inputs)))
    operands = [ctx.input(p) for i, p in enumerate(positions) if i != _BIAS or ctx.has(p)]
    if not operands or not ctx.operator.outputs:
        raise ctx.broken("the operator has no operands or no results")
    _check_types(ctx, row, operands)
    _check_quantization(ctx, row, operands)
    row.translate(ctx)


def _check_types(ctx: OpContext, row: Row, operands: list[Tensor]) -> None:
    results = [ctx.output(i) for i in range(len(ctx.operator.outputs))]
    for types, result in row.signatures:
        expected = types if row.operands else types * len(operands)
        if all(tensor.type_name == result for tensor in results) and all(
            tensor.type_name == t for tensor, t in zip(operands, expected, strict=False)
        ):
            return
    found = [tensor.type_name for tensor in operands]
    hint = ""
    if row.weight_axis is not None and found[0] == "float32" and found[1] != "float32":
        hint = "quantize the whole model to integers; weights alone need kernels that mix types"
    raise ctx.unsupported(
        "this combination of element types is not supported",
        expected=" or ".join(f"{'/'.join(t)} to {r}" for t, r in row.signatures[:6]),
        found=f"{'/'.join(found)} to {results[0].type_name}",
        hint=hint,
    )


def _check_quantization(ctx: OpContext, row: Row, operands: list[Tensor]) -> None:
    """Per-channel only where weights and bias are; where numbers compute, a scale must be there."""
    axes: dict[int, int] = {}
    if row.weight_axis is not None and operands[0].dtype is not DType.UINT8:
        axes = {
            tensor.index: axis
            for tensor, axis in zip(operands[1:], (row.weight_axis, 0), strict=False)
        }
    for where, tensor in ctx.tensors():
        quantization = tensor.quantization
        if quantization is None:
            if row.is_arithmetic and tensor.dtype in (DType.INT8, DType.UINT8, DType.INT16):
                raise ctx.unsupported("integers without a scale are not supported", found=where)
            continue
        if quantization.axis is not None and axes.get(tensor.index) != quantization.axis:
            raise ctx.unsupported(
                "per-channel quantization is not supported here",
                expected=f"dimension {axes[tensor.index]}"
                if tensor.index in axes
                else "one scale per tensor",
                found=f"dimension {quantization.axis} at {where}",
            )
        if row.is_arithmetic and tensor.dtype is DType.INT16 and quantization.zero_point:
            raise ctx.unsupported(
                "int16 with a zero point is not supported",
                expected="zero point 0",
                found=f"{quantization.zero_point} at {where}",
            )
