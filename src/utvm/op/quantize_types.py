"""Which element types each operator takes in LiteRT's reference kernels; others are refused.

In: the operator's name in the TFLite schema. Out: the types of its data tensors. int8, uint8 and
int16 stand for quantized tensors here. Operators whose output has another type than their input
(SOFTMAX, QUANTIZE, the convolutions) have their pairs beside their parameters. float16, int4 and
complex types are left out: they have no place on a microcontroller. Source: the ``switch`` over
types in each of TFLite kernels/*.cc, compared with the kernels by the tests.
"""

from __future__ import annotations

from utvm.ir.dtype import DType

_F32, _I32, _I64 = DType.FLOAT32, DType.INT32, DType.INT64
_I8, _U8, _I16, _BOOL = DType.INT8, DType.UINT8, DType.INT16, DType.BOOL

_QUANTIZED = frozenset({_I8, _U8, _I16})
_FLOAT_AND_QUANTIZED = _QUANTIZED | {_F32}

REFERENCE_TYPES: dict[str, frozenset[DType]] = {
    "ADD": _FLOAT_AND_QUANTIZED | {_I32, _I64},
    "SUB": _FLOAT_AND_QUANTIZED | {_I32, _I64},
    "MUL": _FLOAT_AND_QUANTIZED | {_I32, _I64, DType.UINT32},
    "DIV": _FLOAT_AND_QUANTIZED | {_I32},
    "MAXIMUM": _FLOAT_AND_QUANTIZED | {_I32, _I64},
    "MINIMUM": _FLOAT_AND_QUANTIZED | {_I32, _I64},
    "RELU": _FLOAT_AND_QUANTIZED,
    "RELU6": _FLOAT_AND_QUANTIZED,
    "RELU_N1_TO_1": frozenset({_F32, _I8, _U8}),
    "RELU_0_TO_1": frozenset({_F32, _I8, _U8}),
    "LEAKY_RELU": _FLOAT_AND_QUANTIZED,
    "HARD_SWISH": frozenset({_F32, _I8, _U8}),
    "LOGISTIC": _FLOAT_AND_QUANTIZED,
    "TANH": _FLOAT_AND_QUANTIZED,
    "AVERAGE_POOL_2D": _FLOAT_AND_QUANTIZED,
    "MAX_POOL_2D": _FLOAT_AND_QUANTIZED,
    "MEAN": _FLOAT_AND_QUANTIZED | {_I32, _I64},
    "SUM": _FLOAT_AND_QUANTIZED | {_I32, _I64, _BOOL},
    "REDUCE_MAX": _FLOAT_AND_QUANTIZED | {_I32, _I64, _BOOL},
    "REDUCE_MIN": _FLOAT_AND_QUANTIZED | {_I32, _I64, _BOOL},
    "RESIZE_BILINEAR": _FLOAT_AND_QUANTIZED,
    # Copies by element size, so whatever has 8, 16 or 32 bits.
    "RESIZE_NEAREST_NEIGHBOR": frozenset(DType) - {_I64},
    "CONCATENATION": _FLOAT_AND_QUANTIZED | {_I32, _I64, _BOOL, DType.UINT32},
    "PAD": _FLOAT_AND_QUANTIZED | {_I32, _I64, _BOOL},
}
