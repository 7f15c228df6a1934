"""Where the options of every operator lie in its table of the TFLite schema.

In: an operator's name and its options table. Out: ``read_options``, a mapping from the schema's
field names in snake case to numbers. A new operator with options is one row in ``OPTIONS``. A
table that is left out gives the schema's defaults; a table of another operator is a ModelError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tflite.BuiltinOptions import BuiltinOptions

from utvm.importers.flatbuffer import Table
from utvm.importers.tflite_model import Operator
from utvm.support.errors import ModelError

_NONE = 0
_OPTION_NAMES = {n: name for name, n in vars(BuiltinOptions).items() if isinstance(n, int)}


@dataclass(frozen=True)
class Field:
    """One field: its slot, its type, and its value where the file leaves it out."""

    slot: int
    kind: str
    default: int | float = 0


Fields = Mapping[str, Field]


def _fields(kinds: str, first: int = 0) -> dict[str, Field]:
    """``"padding:int8 stride_w:int32=1"`` as fields in the order of their slots."""
    fields: dict[str, Field] = {}
    for slot, part in enumerate(kinds.split(), first):
        name, _, kind = part.partition(":")
        kind, _, default = kind.partition("=")
        fields[name] = Field(slot, kind, int(default or 0))
    return fields


# Table of the schema -> its fields. Vectors (squeeze_dims, new_shape) are not read: the declared
# shape of the result says the same.
TABLES: dict[str, Fields] = {
    "AddOptions": _fields("fused_activation_function:int8 pot_scale_int16:bool=1"),
    "ConcatenationOptions": _fields("axis:int32 fused_activation_function:int8"),
    "Conv2DOptions": _fields(
        "padding:int8 stride_w:int32 stride_h:int32 fused_activation_function:int8"
        " dilation_w_factor:int32=1 dilation_h_factor:int32=1 quantized_bias_type:int8"
    ),
    "DepthwiseConv2DOptions": _fields(
        "padding:int8 stride_w:int32 stride_h:int32 depth_multiplier:int32"
        " fused_activation_function:int8 dilation_w_factor:int32=1 dilation_h_factor:int32=1"
    ),
    "DivOptions": _fields("fused_activation_function:int8"),
    "FullyConnectedOptions": _fields(
        "fused_activation_function:int8 weights_format:int8 keep_num_dims:bool"
        " asymmetric_quantize_inputs:bool quantized_bias_type:int8"
    ),
    "GatherOptions": _fields("axis:int32 batch_dims:int32"),
    "LeakyReluOptions": _fields("alpha:float32"),
    "MirrorPadOptions": _fields("mode:int8"),
    "MulOptions": _fields("fused_activation_function:int8"),
    "PackOptions": _fields("values_count:int32 axis:int32"),
    "Pool2DOptions": _fields(
        "padding:int8 stride_w:int32 stride_h:int32 filter_width:int32 filter_height:int32"
        " fused_activation_function:int8"
    ),
    "ReducerOptions": _fields("keep_dims:bool"),
    "ResizeBilinearOptions": _fields("align_corners:bool half_pixel_centers:bool", first=2),
    "ResizeNearestNeighborOptions": _fields("align_corners:bool half_pixel_centers:bool"),
    "SoftmaxOptions": _fields("beta:float32"),
    "SplitOptions": _fields("num_splits:int32"),
    "SplitVOptions": _fields("num_splits:int32"),
    "StridedSliceOptions": _fields(
        "begin_mask:int32 end_mask:int32 ellipsis_mask:int32 new_axis_mask:int32"
        " shrink_axis_mask:int32 offset:bool"
    ),
    "SubOptions": _fields("fused_activation_function:int8 pot_scale_int16:bool=1"),
    "TransposeConvOptions": _fields(
        "padding:int8 stride_w:int32 stride_h:int32 fused_activation_function:int8"
        " quantized_bias_type:int8"
    ),
    "UnpackOptions": _fields("num:int32 axis:int32"),
}

# Operator -> its table. Operators that are not here have no options that matter.
OPTIONS: dict[str, str] = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "DIV": "DivOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "GATHER": "GatherOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MIRROR_PAD": "MirrorPadOptions",
    "MUL": "MulOptions",
    "PACK": "PackOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SPLIT": "SplitOptions",
    "SPLIT_V": "SplitVOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "SUB": "SubOptions",
    "SUM": "ReducerOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
    "UNPACK": "UnpackOptions",
}


def read_options(operator: Operator) -> dict[str, int | float]:
    """The numbers of an operator's options by name; empty for an operator without options."""
    name = OPTIONS.get(operator.name)
    if name is None:
        return {}
    if operator.options_type not in (_NONE, getattr(BuiltinOptions, name)):
        raise ModelError(
            "the options belong to another operator",
            where=operator.where,
            expected=name,
            found=_OPTION_NAMES.get(operator.options_type, str(operator.options_type)),
        )
    table = operator.options if operator.options_type != _NONE else None
    return {key: _value(table, field) for key, field in TABLES[name].items()}


def _value(table: Table | None, field: Field) -> int | float:
    if table is None:
        return field.default
    if field.kind == "float32":
        return table.real(field.slot, float(field.default))
    return table.integer(field.slot, field.kind, int(field.default))
