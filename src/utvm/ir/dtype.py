"""Element types of tensors and scalar expressions, shared by both IRs.

A ``DType`` knows its NumPy type, its C99 name, its size and its range. ``bool`` is stored as one
byte, as in TFLite. Nothing here depends on any other part of the compiler.
"""

from __future__ import annotations

import enum

import numpy as np

_C_NAMES = {
    "int8": "int8_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "int64": "int64_t",
    "uint8": "uint8_t",
    "uint16": "uint16_t",
    "uint32": "uint32_t",
    "float32": "float",
    "bool": "uint8_t",
}


class DType(enum.Enum):
    """An element type. The value is its name in the text forms."""

    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    FLOAT32 = "float32"
    BOOL = "bool"

    @property
    def numpy(self) -> np.dtype[np.generic]:
        return np.dtype(self.value)

    @property
    def c_name(self) -> str:
        return _C_NAMES[self.value]

    @property
    def size_bytes(self) -> int:
        return int(self.numpy.itemsize)

    @property
    def bits(self) -> int:
        return 8 * self.size_bytes

    @property
    def is_float(self) -> bool:
        return self is DType.FLOAT32

    @property
    def is_integer(self) -> bool:
        return not self.is_float and self is not DType.BOOL

    @property
    def is_signed(self) -> bool:
        return self.value.startswith("int") or self.is_float

    @property
    def minimum(self) -> int:
        """The smallest value of an integer type."""
        return -(1 << (self.bits - 1)) if self.is_signed else 0

    @property
    def maximum(self) -> int:
        """The largest value of an integer type (1 for bool)."""
        if self is DType.BOOL:
            return 1
        return (1 << (self.bits - 1)) - 1 if self.is_signed else (1 << self.bits) - 1


def dtype_of(array: np.ndarray) -> DType:
    """The DType of a NumPy array; ValueError for one that utvm has no type for."""
    return DType(array.dtype.name)
