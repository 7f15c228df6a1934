"""Writes small TFLite models for tests, one tensor and one operator at a time.

In: calls of ``ModelBuilder.tensor`` and ``ModelBuilder.op``; out: the bytes of a model with one
subgraph. Every builtin operator of the schema can be written; those of the importer have defaults
for the options that matter (stride 1, SAME padding, beta 1). Nothing is checked beyond what the
flatbuffer needs, so that a test can also write a model that contradicts itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
import tflite

FILE_IDENTIFIER = b"TFL3"
BUFFER_ALIGNMENT = 16
# In the schema's old operator code field, which has 8 bits, this stands for "see the new field".
PLACEHOLDER_FOR_GREATER_OP_CODES = 127

CONV: dict[str, Any] = {"padding": "SAME", "stride_w": 1, "stride_h": 1}
DILATED = {**CONV, "dilation_w_factor": 1, "dilation_h_factor": 1}
POOL = {**CONV, "filter_width": 2, "filter_height": 2}

# Operator -> the table of its options in the schema, and the defaults where they are not the
# schema's. An operator that is not here is written without options.
OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "ADD": ("Add", {}),
    "ARG_MAX": ("ArgMax", {"output_type": "int32"}),
    "ARG_MIN": ("ArgMin", {"output_type": "int32"}),
    "AVERAGE_POOL_2D": ("Pool2D", POOL),
    "BATCH_MATMUL": ("BatchMatMul", {}),
    "CAST": ("Cast", {}),
    "CONCATENATION": ("Concatenation", {}),
    "CONV_2D": ("Conv2D", DILATED),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2D", {**DILATED, "depth_multiplier": 1}),
    "DEQUANTIZE": ("Dequantize", {}),
    "DIV": ("Div", {}),
    "EXPAND_DIMS": ("ExpandDims", {}),
    "FULLY_CONNECTED": ("FullyConnected", {}),
    "GATHER": ("Gather", {}),
    "HARD_SWISH": ("HardSwish", {}),
    "LEAKY_RELU": ("LeakyRelu", {"alpha": 0.1}),
    "MAXIMUM": ("MaximumMinimum", {}),
    "MAX_POOL_2D": ("Pool2D", POOL),
    "MEAN": ("Reducer", {}),
    "MINIMUM": ("MaximumMinimum", {}),
    "MIRROR_PAD": ("MirrorPad", {"mode": "REFLECT"}),
    "MUL": ("Mul", {}),
    "PACK": ("Pack", {}),
    "PAD": ("Pad", {}),
    "PADV2": ("PadV2", {}),
    "QUANTIZE": ("Quantize", {}),
    "REDUCE_MAX": ("Reducer", {}),
    "REDUCE_MIN": ("Reducer", {}),
    "REDUCE_PROD": ("Reducer", {}),
    "RESHAPE": ("Reshape", {}),
    "RESIZE_BILINEAR": ("ResizeBilinear", {}),
    "RESIZE_NEAREST_NEIGHBOR": ("ResizeNearestNeighbor", {}),
    "SHAPE": ("Shape", {"out_type": "int32"}),
    "SLICE": ("Slice", {}),
    "SOFTMAX": ("Softmax", {"beta": 1.0}),
    "SPLIT": ("Split", {}),
    "SPLIT_V": ("SplitV", {}),
    "SQUEEZE": ("Squeeze", {}),
    "STRIDED_SLICE": ("StridedSlice", {}),
    "SUB": ("Sub", {}),
    "SUM": ("Reducer", {}),
    "TRANSPOSE": ("Transpose", {}),
    "TRANSPOSE_CONV": ("TransposeConv", CONV),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": ("UnidirectionalSequenceLSTM", {}),
    "UNPACK": ("Unpack", {}),
}

# Options given by name, and the enumeration of the schema that names them.
ENUMERATIONS = {
    "fused_activation_function": "ActivationFunctionType",
    "mode": "MirrorPadMode",
    "padding": "Padding",
}
TYPE_OPTIONS = {"in_data_type", "out_data_type", "out_type", "output_type", "quantized_bias_type"}


@dataclass(frozen=True)
class _Tensor:
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int
    data: bytes | None
    name: str
    shape_signature: tuple[int, ...] | None


@dataclass(frozen=True)
class _Op:
    code: int
    custom_code: str | None
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    table: str | None
    options: dict[str, Any]


class ModelBuilder:
    """One model with one subgraph; tensors and operators appear in the order they are added."""

    def __init__(self, description: str = "test model") -> None:
        self._description = description
        self._tensors: list[_Tensor] = []
        self._ops: list[_Op] = []

    def tensor(
        self,
        shape: Sequence[int],
        dtype: npt.DTypeLike,
        scale: float | Sequence[float] | None = None,
        zero_point: int | Sequence[int] | None = None,
        axis: int | None = None,
        data: npt.ArrayLike | bytes | None = None,
        name: str | None = None,
        shape_signature: Sequence[int] | None = None,
    ) -> int:
        """Adds a tensor and returns its index.

        With ``data`` it is a constant; bytes are written as they are, arrays are cast to
        ``dtype``. Several scales, along ``axis``, make it quantized per channel; their zero points
        are 0 unless given.
        """
        dtype = np.dtype(dtype)
        scales = () if scale is None else tuple(float(s) for s in np.atleast_1d(scale))
        zeros = np.broadcast_to(
            np.asarray(0 if zero_point is None else zero_point), max(len(scales), 1)
        )
        raw = data if data is None or isinstance(data, bytes) else _raw(data, dtype)
        self._tensors.append(
            _Tensor(
                shape=tuple(int(n) for n in shape),
                dtype=dtype,
                scales=scales,
                zero_points=tuple(int(z) for z in zeros) if scales else (),
                axis=axis or 0,
                data=raw,
                name=f"tensor_{len(self._tensors)}" if name is None else name,
                shape_signature=None if shape_signature is None else tuple(shape_signature),
            )
        )
        return len(self._tensors) - 1

    def op(
        self,
        kind: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        *,
        version: int = 1,
        custom_code: str | None = None,
        **options: Any,
    ) -> None:
        """Adds an operator by its name in the schema; -1 stands for an input left out.

        Options have the schema's names in snake case. Paddings, activations and modes are given
        by their names ("VALID", "RELU6"), element types as NumPy types. ``custom_code`` belongs to
        the kind "CUSTOM".
        """
        table, defaults = OPTIONS.get(kind, (None, {}))
        if table is None and options:
            raise ValueError(f"{kind} has no options")
        op = _Op(
            code=getattr(tflite.BuiltinOperator, kind),
            custom_code=custom_code,
            version=version,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            table=table,
            options={**defaults, **options},
        )
        self._ops.append(op)

    def build(self, inputs: Sequence[int], outputs: Sequence[int], name: str = "main") -> bytes:
        """The model as a file holds it, with these tensors as its inputs and outputs."""
        return _Writer(self._description).model(self._tensors, self._ops, inputs, outputs, name)


def per_channel(
    array: npt.NDArray[np.floating[Any]], axis: int
) -> tuple[npt.NDArray[np.int8], list[float]]:
    """Float weights as TFLite quantizes them: int8 in -127..127, one scale per channel."""
    others = tuple(i for i in range(array.ndim) if i != axis)
    largest = np.maximum(np.max(np.abs(array), axis=others, keepdims=True), 1e-9)
    scales = (largest / 127.0).astype(np.float32)
    quantized = np.clip(np.round(array / scales), -127, 127).astype(np.int8)
    return quantized, [float(s) for s in scales.ravel()]


class _Writer:
    """The flatbuffer of one model; every method returns the offset of what it wrote."""

    def __init__(self, description: str) -> None:
        self.builder = flatbuffers.Builder(1024)
        self.description = description

    def model(
        self,
        tensors: Sequence[_Tensor],
        ops: Sequence[_Op],
        inputs: Sequence[int],
        outputs: Sequence[int],
        name: str,
    ) -> bytes:
        codes = sorted({(op.code, op.version, op.custom_code or "") for op in ops})
        # Buffer 0 is empty by convention: it stands for "no data".
        contents = [b"", *(t.data for t in tensors if t.data is not None)]
        buffers = self.offsets([self.buffer(content) for content in contents])
        subgraph = self.offsets([self.subgraph(tensors, ops, codes, inputs, outputs, name)])
        operator_codes = self.offsets([self.operator_code(*code) for code in codes])
        root = self.table(
            "Model",
            version=3,
            operator_codes=operator_codes,
            subgraphs=subgraph,
            description=self.builder.CreateString(self.description),
            buffers=buffers,
        )
        self.builder.Finish(root, file_identifier=FILE_IDENTIFIER)
        return bytes(self.builder.Output())

    def subgraph(
        self,
        tensors: Sequence[_Tensor],
        ops: Sequence[_Op],
        codes: Sequence[tuple[int, int, str]],
        inputs: Sequence[int],
        outputs: Sequence[int],
        name: str,
    ) -> int:
        with_data = [i for i, tensor in enumerate(tensors) if tensor.data is not None]
        buffer_of = {index: 1 + nth for nth, index in enumerate(with_data)}
        return self.table(
            "SubGraph",
            tensors=self.offsets(
                [self.tensor(t, buffer_of.get(i, 0)) for i, t in enumerate(tensors)]
            ),
            operators=self.offsets([self.operator(op, codes) for op in ops]),
            inputs=self.vector(inputs, np.int32),
            outputs=self.vector(outputs, np.int32),
            name=self.builder.CreateString(name),
        )

    def tensor(self, tensor: _Tensor, buffer: int) -> int:
        fields: dict[str, Any] = {
            "shape": self.vector(tensor.shape, np.int32),
            "type": _tensor_type(tensor.dtype),
            "buffer": buffer,
            "name": self.builder.CreateString(tensor.name),
            "has_rank": True,
        }
        if tensor.scales:
            fields["quantization"] = self.table(
                "QuantizationParameters",
                scale=self.vector(tensor.scales, np.float32),
                zero_point=self.vector(tensor.zero_points, np.int64),
                quantized_dimension=tensor.axis,
            )
        if tensor.shape_signature is not None:
            fields["shape_signature"] = self.vector(tensor.shape_signature, np.int32)
        return self.table("Tensor", **fields)

    def operator(self, op: _Op, codes: Sequence[tuple[int, int, str]]) -> int:
        fields: dict[str, Any] = {
            "opcode_index": codes.index((op.code, op.version, op.custom_code or "")),
            "inputs": self.vector(op.inputs, np.int32),
            "outputs": self.vector(op.outputs, np.int32),
        }
        if op.table is not None:
            name = f"{op.table}Options"
            options = {key: self.option(key, value) for key, value in op.options.items()}
            fields["builtin_options_type"] = getattr(tflite.BuiltinOptions, name)
            fields["builtin_options"] = self.table(name, **options)
        return self.table("Operator", **fields)

    def option(self, key: str, value: Any) -> Any:
        if key in ENUMERATIONS and isinstance(value, str):
            return getattr(getattr(tflite, ENUMERATIONS[key]), value)
        if key in TYPE_OPTIONS and not isinstance(value, int):
            return _tensor_type(np.dtype(value))
        return self.vector(value, np.int32) if isinstance(value, Sequence) else value

    def operator_code(self, code: int, version: int, custom_code: str) -> int:
        fields: dict[str, Any] = {
            "deprecated_builtin_code": min(code, PLACEHOLDER_FOR_GREATER_OP_CODES),
            "builtin_code": code,
            "version": version,
        }
        if custom_code:
            fields["custom_code"] = self.builder.CreateString(custom_code)
        return self.table("OperatorCode", **fields)

    def buffer(self, content: bytes) -> int:
        return self.table("Buffer", data=self.raw(content)) if content else self.table("Buffer")

    def table(self, name: str, /, **fields: Any) -> int:
        """A table of the schema; fields in snake case, offsets already written."""
        module = importlib.import_module(f"tflite.{name}")
        start: Callable[..., None] = getattr(module, f"{name}Start")
        start(self.builder)
        for key, value in fields.items():
            camel_case = "".join(part.capitalize() for part in key.split("_"))
            getattr(module, f"{name}Add{camel_case}")(self.builder, value)
        return int(getattr(module, f"{name}End")(self.builder))

    def vector(self, values: Sequence[Any], dtype: npt.DTypeLike) -> int:
        return int(self.builder.CreateNumpyVector(np.array(values, dtype)))

    def offsets(self, offsets: Sequence[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def raw(self, content: bytes) -> int:
        """Bytes aligned as the format asks, so that a reader may use them in place."""
        self.builder.StartVector(1, len(content), BUFFER_ALIGNMENT)
        self.builder.head -= len(content)
        head = self.builder.head
        self.builder.Bytes[head : head + len(content)] = content
        return int(self.builder.EndVector())


def _raw(data: npt.ArrayLike, dtype: np.dtype[Any]) -> bytes:
    return np.ascontiguousarray(np.asarray(data).astype(dtype)).tobytes()


def _tensor_type(dtype: np.dtype[Any]) -> int:
    return int(getattr(tflite.TensorType, dtype.name.upper()))
