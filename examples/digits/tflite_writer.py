"""Writes an int8 TFLite model: tensors with quantization, constants, and operators with options.

In: calls of ``tensor`` and ``op``, in the order of the network; out: the bytes of the model. It
writes what examples/digits/train.py needs and assumes well-formed calls: one subgraph, no checks.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
import tflite

Array = npt.NDArray[Any]
TYPES = {"int8": tflite.TensorType.INT8, "int32": tflite.TensorType.INT32}


class TfliteWriter:
    """A model with one subgraph; the flatbuffer grows with every call."""

    def __init__(self) -> None:
        self._builder = flatbuffers.Builder(1 << 16)
        # By convention buffer 0 is empty and belongs to every tensor that is no constant.
        self._buffers = [self._table("Buffer")]
        self._tensors: list[int] = []
        self._operators: list[int] = []
        self._codes: list[int] = []

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        scales: Sequence[float] = (),
        zero_point: int = 0,
        axis: int = 0,
        constant: Array | None = None,
    ) -> int:
        """Adds a tensor and returns its index; a constant says its own type, the rest is int8."""
        buffer = 0
        if constant is not None:
            buffer = len(self._buffers)
            data = self._vector(np.frombuffer(constant.tobytes(), np.uint8))
            self._buffers.append(self._table("Buffer", Data=data))
        quantization = self._table(
            "QuantizationParameters",
            Scale=self._vector(np.array(scales, np.float32)),
            ZeroPoint=self._vector(np.full(len(scales), zero_point, np.int64)),
            QuantizedDimension=axis,
        )
        tensor = self._table(
            "Tensor",
            Shape=self._vector(np.array(shape, np.int32)),
            Type=TYPES["int8" if constant is None else constant.dtype.name],
            Buffer=buffer,
            Name=self._builder.CreateString(name),
            Quantization=quantization,
        )
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def op(
        self, kind: str, table: str, inputs: Sequence[int], outputs: Sequence[int], **options: int
    ) -> None:
        """Adds an operator; ``table`` is the schema's name for its options, without "Options"."""
        code = int(getattr(tflite.BuiltinOperator, kind))
        if code not in self._codes:
            self._codes.append(code)
        operator = self._table(
            "Operator",
            OpcodeIndex=self._codes.index(code),
            Inputs=self._vector(np.array(inputs, np.int32)),
            Outputs=self._vector(np.array(outputs, np.int32)),
            BuiltinOptionsType=getattr(tflite.BuiltinOptions, f"{table}Options"),
            BuiltinOptions=self._table(f"{table}Options", **options),
        )
        self._operators.append(operator)

    def model(self, name: str, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The finished file."""
        subgraph = self._table(
            "SubGraph",
            Tensors=self._offsets(self._tensors),
            Inputs=self._vector(np.array(inputs, np.int32)),
            Outputs=self._vector(np.array(outputs, np.int32)),
            Operators=self._offsets(self._operators),
            Name=self._builder.CreateString(name),
        )
        codes = [
            self._table("OperatorCode", DeprecatedBuiltinCode=code, BuiltinCode=code, Version=1)
            for code in self._codes
        ]
        root = self._table(
            "Model",
            Version=3,
            OperatorCodes=self._offsets(codes),
            Subgraphs=self._offsets([subgraph]),
            Description=self._builder.CreateString(name),
            Buffers=self._offsets(self._buffers),
        )
        self._builder.Finish(root, file_identifier=b"TFL3")
        return bytes(self._builder.Output())

    def _table(self, name: str, **fields: int) -> int:
        module = importlib.import_module(f"tflite.{name}")
        getattr(module, f"{name}Start")(self._builder)
        for field, value in fields.items():
            getattr(module, f"{name}Add{field}")(self._builder, value)
        return int(getattr(module, f"{name}End")(self._builder))

    def _vector(self, values: Array) -> int:
        if values.dtype != np.uint8:
            return int(self._builder.CreateNumpyVector(values))
        # Constants are aligned to 16 bytes, so that a reader can use them in place.
        self._builder.StartVector(1, values.size, 16)
        self._builder.head -= values.size
        head = self._builder.head
        self._builder.Bytes[head : head + values.size] = values.tobytes()
        return int(self._builder.EndVector())

    def _offsets(self, offsets: Sequence[int]) -> int:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return int(self._builder.EndVector())
