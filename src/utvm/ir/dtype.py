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


def _range(name: str, bits: int) -> tuple[int, int]:
    """Least and greatest value of an integer type."""
    if name == "bool":
        return 0, 1
    if name.startswith("uint"):
        return 0, (1 << bits) - 1
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


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

    def __init__(self, name: str) -> None:
        self.numpy: np.dtype[np.generic] = np.dtype(name)
        self.c_name = _C_NAMES[name]
        self.size_bytes = int(self.numpy.itemsize)
        self.bits = 8 * self.size_bytes
        self.is_float = name == "float32"
        self.is_integer = name not in ("float32", "bool")
        self.is_signed = name.startswith("int") or self.is_float
        low, high = _range(name, self.bits)
        self.minimum = low
        """The smallest value of an integer type."""
        self.maximum = high
        """The largest value of an integer type (1 for bool)."""


def dtype_of(array: np.ndarray) -> DType:
    """The DType of a NumPy array; ValueError for one that utvm has no type for."""
    return DType(array.dtype.name)
