"""Broken and hostile TFLite files: each gives one line that says what, where, and what was
expected.

Models that contradict themselves are written with the model builder; damage that it cannot write
is patched into the bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import flatbuffers
import numpy as np
import pytest
import tflite

from tests.tflite_builder import ModelBuilder
from utvm.importers.tflite import import_tflite, list_operators
from utvm.op.registry import find_op
from utvm.support.errors import ModelError, UnsupportedError, UtvmError


def message(data: bytes, kind: type[UtvmError] = ModelError) -> str:
    with pytest.raises(kind) as error:
        import_tflite(data, name="net", find_op=find_op)
    text = str(error.value)
    assert "\n" not in text
    return text


def addition(
    shapes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] = ((1, 4), (1, 4), (1, 4)),
    dtype: str = "float32",
    **tensor: object,
) -> bytes:
    """One ADD; ``tensor`` gives options of the second operand, named "b"."""
    model = ModelBuilder()
    a = model.tensor(shapes[0], dtype, name="a")
    b = model.tensor(shapes[1], dtype, name="b", **tensor)  # type: ignore[arg-type]
    y = model.tensor(shapes[2], dtype, name="y")
    model.op("ADD", [a, b], [y])
    return model.build([a] if tensor.get("data") is not None else [a, b], [y])


def quantized_addition(scale: object, zero_point: object = 0, dtype: str = "int8") -> bytes:
    """One ADD whose second operand has this quantization."""
    model = ModelBuilder()
    a = model.tensor((1, 4), dtype, 0.5, 0, name="a")
    b = model.tensor((1, 4), dtype, scale, zero_point, axis=1, name="b")  # type: ignore[arg-type]
    y = model.tensor((1, 4), dtype, 0.5, 0, name="y")
    model.op("ADD", [a, b], [y])
    return model.build([a, b], [y])


def convolution(
    x: tuple[int, ...] = (1, 6, 6, 2),
    weight: tuple[int, ...] = (4, 3, 3, 2),
    y: tuple[int, ...] = (1, 6, 6, 4),
    **options: object,
) -> bytes:
    model = ModelBuilder()
    inputs = [
        model.tensor(x, "float32", name="x"),
        model.tensor(weight, "float32", data=np.ones(weight), name="w"),
    ]
    out = model.tensor(y, "float32", name="y")
    model.op("CONV_2D", inputs, [out], **options)
    return model.build(inputs[:1], [out])


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    assert data.count(old) == 1
    assert len(old) == len(new)
    return data.replace(old, new)


def test_not_a_model() -> None:
    assert message(b"") == (
        "this is not a TFLite file; expected TFL3 at byte 4; found a file of 0 bytes"
    )
    assert message(b"\x7fELF\x01\x01\x01\x00") == (
        "this is not a TFLite file; expected TFL3 at byte 4; found 01010100"
    )


def test_truncated_file() -> None:
    data = addition()
    assert message(data[:40]).startswith("root table: the file is truncated or damaged; expected")
    for size in range(0, len(data) - 40, 7):
        assert message(data[:size])


def test_root_beyond_the_file() -> None:
    data = struct.pack("<I", 0x7FFFFFFF) + addition()[4:]
    assert message(data).startswith(
        "root table: the file is truncated or damaged; expected 4 bytes at byte 2147483647; found"
    )


def test_vector_of_2_to_the_31_elements() -> None:
    data = addition(((1, 77), (1, 77), (1, 77)))
    shape = struct.pack("<III", 2, 1, 77)
    assert data.count(shape) == 3
    data = data.replace(shape, struct.pack("<III", 2**31, 1, 77), 1)
    assert "the file is truncated or damaged; expected 8589934592 bytes" in message(data)


def test_schema_version() -> None:
    builder = flatbuffers.Builder(64)
    builder.StartObject(1)
    builder.PrependUint32Slot(0, 2, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"TFL3")
    assert message(bytes(builder.Output()), UnsupportedError) == (
        "unknown version of the TFLite schema; expected 3; found 2"
    )


def test_no_subgraph() -> None:
    builder = flatbuffers.Builder(64)
    builder.StartObject(1)
    builder.PrependUint32Slot(0, 3, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"TFL3")
    assert message(bytes(builder.Output())) == (
        "the model has no subgraph; expected at least 1; found 0"
    )


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((2**16, 2**15), "the tensor is too large; expected at most 2147483647 elements"),
        ((2**31 - 1,) * 8, "the tensor is too large; expected at most 2147483647 elements"),
        ((1,) * 9, "too many dimensions; expected at most 8; found 9"),
        ((-2, 4), "a dimension is negative; found [-2, 4]"),
    ],
)
def test_impossible_shapes(shape: tuple[int, ...], text: str) -> None:
    assert text in message(addition((shape, shape, shape)))


def test_tensors_too_large_altogether() -> None:
    shape = (1, 2**25)
    text = message(addition((shape, shape, shape)), UnsupportedError)
    assert text == (
        "tensor 2 (y): the tensors of this model are too large for a microcontroller; "
        "expected at most 268435456 bytes altogether; found 402653184 bytes up to this one"
    )


@pytest.mark.parametrize(
    ("shape", "reason"),
    [((-1, 4), "a tensor has the dynamic shape [?, 4]"), ((0, 4), "a tensor has no elements")],
)
def test_shapes_without_a_size(shape: tuple[int, ...], reason: str) -> None:
    text = message(addition((shape, shape, shape)), UnsupportedError)
    assert text == (
        f"operator 0 ADD: {reason}; found operator 0 ADD, input 0 (a); "
        "hint: utvm inspect lists every operator with the reason"
    )


def test_unknown_element_types() -> None:
    text = message(addition(dtype="float64"), UnsupportedError)
    assert text.startswith("operator 0 ADD: a tensor has the element type float64")


def test_combination_of_element_types() -> None:
    text = message(addition(dtype="bool"), UnsupportedError)
    assert "operator 0 ADD: this combination of element types is not supported; expected" in text
    assert "found bool/bool to bool" in text


def test_declared_shape_contradicts_the_operator() -> None:
    assert message(addition(((1, 4), (1, 4), (1, 5)))) == (
        "operator 0 ADD, output 0 (y): the declared result does not fit the operator; "
        "expected float32[1,4]; found float32[1,5]"
    )


def test_shapes_that_cannot_be_combined() -> None:
    assert message(addition(((1, 4), (1, 5), (1, 5)))) == (
        "operator 0 ADD: shapes cannot be broadcast together; found [(1, 4), (1, 5)]"
    )


def test_guessed_shapes_are_no_contradiction() -> None:
    data = addition(((1, 4), (1, 5), (1, 5)), shape_signature=(-1, 5))
    text = message(data, UnsupportedError)
    assert "shapes are known only at run time (shapes cannot be broadcast together)" in text
    assert "convert the model with a fixed batch size" in text


def test_buffer_does_not_fit_its_tensor() -> None:
    assert message(addition(data=bytes(15))) == (
        "tensor 1 (b): the constant's buffer does not fit its shape; "
        "expected 16 bytes for float32[1, 4]; found 15 bytes"
    )


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_unusable_scale(scale: float) -> None:
    assert message(quantized_addition(scale)) == (
        "tensor 1 (b): a quantization scale is not usable; "
        f"expected a positive finite number; found {scale}"
    )


@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", 128), ("int8", -129), ("uint8", -1)])
def test_zero_point_outside_its_type(dtype: str, zero_point: int) -> None:
    text = message(quantized_addition(0.5, zero_point, dtype))
    assert text.startswith("tensor 1 (b): a zero point is outside its type; expected ")
    assert text.endswith(f"for {dtype}; found {zero_point}")


def test_number_of_scales() -> None:
    assert message(quantized_addition([0.5, 0.25])) == (
        "tensor 1 (b): the number of scales does not fit the quantized dimension; "
        "expected 1 or 4; found 2"
    )


def test_scales_per_channel_where_no_kernel_takes_them() -> None:
    text = message(quantized_addition([0.5] * 4), UnsupportedError)
    assert text.startswith(
        "operator 0 ADD: per-channel quantization is not supported here; "
        "expected one scale per tensor; found dimension 1 at operator 0 ADD, input 1 (b)"
    )


def test_int16_with_a_zero_point() -> None:
    text = message(quantized_addition(0.5, 3, "int16"), UnsupportedError)
    assert text.startswith(
        "operator 0 ADD: int16 with a zero point is not supported; expected zero point 0; "
        "found 3 at operator 0 ADD, input 1 (b)"
    )


def test_integers_without_a_scale() -> None:
    text = message(addition(dtype="int8"), UnsupportedError)
    assert text.startswith("operator 0 ADD: integers without a scale are not supported")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"stride_w": 0}, "stride_w is too small; expected at least 1; found 0"),
        ({"stride_h": -2}, "stride_h is too small; expected at least 1; found -2"),
        ({"dilation_w_factor": 0}, "dilation_w_factor is too small; expected at least 1; found 0"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, object], text: str) -> None:
    assert message(convolution(**options)) == f"operator 0 CONV_2D: {text}"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"padding": 7}, "unknown padding; expected SAME or VALID; found 7"),
        (
            {"fused_activation_function": "TANH"},
            "the fused activation is not supported; "
            "expected none, relu, relu_n1_to_1, relu6; found 4",
        ),
    ],
)
def test_options_that_are_not_supported(options: dict[str, object], text: str) -> None:
    expected = f"operator 0 CONV_2D: {text}"
    assert message(convolution(**options), UnsupportedError).startswith(expected)


def test_window_larger_than_its_input() -> None:
    data = convolution((1, 2, 2, 2), y=(1, 1, 1, 4), padding="VALID")
    assert message(data).startswith(
        "operator 0 CONV_2D: the window is larger than its padded input"
    )


def test_weights_of_the_wrong_depth() -> None:
    data = convolution(weight=(4, 3, 3, 5))
    assert message(data).startswith("operator 0 CONV_2D: input channels do not fit the weights")


def test_operand_of_the_wrong_rank() -> None:
    assert message(convolution(x=(6, 6, 2))) == (
        "operator 0 CONV_2D, input 0 (x): the operand has the wrong rank; "
        "expected 4 dimensions; found [6, 6, 2]"
    )


def test_options_of_another_operator() -> None:
    data = bytearray(addition())
    # ADD's options are number 11 of the schema's union, SUB's are 28.
    position = find_options_type(bytes(data))
    assert data[position] == 11
    data[position] = 28
    assert message(bytes(data)) == (
        "operator 0 ADD: the options belong to another operator; "
        "expected AddOptions; found SubOptions"
    )


def find_options_type(data: bytes) -> int:
    """The byte of the first operator that says whose options it has."""
    operator = tflite.Model.GetRootAs(data).Subgraphs(0).Operators(0)
    return int(operator._tab.Pos + operator._tab.Offset(4 + 2 * 3))


def wired(change: Callable[[ModelBuilder, list[int]], tuple[list[int], list[int]]]) -> str:
    """The message for a model of four tensors, wired by ``change``."""
    model = ModelBuilder()
    tensors = [model.tensor((1, 4), "float32", name=f"t{i}") for i in range(4)]
    return message(model.build(*change(model, tensors)))


def test_tensor_indices_out_of_range() -> None:
    def operator_input(model: ModelBuilder, t: list[int]) -> tuple[list[int], list[int]]:
        model.op("ADD", [t[0], 99], [t[1]])
        return [t[0]], [t[1]]

    def operator_output(model: ModelBuilder, t: list[int]) -> tuple[list[int], list[int]]:
        model.op("ADD", [t[0], t[0]], [-1])
        return [t[0]], [t[1]]

    def graph_input(model: ModelBuilder, t: list[int]) -> tuple[list[int], list[int]]:
        return [2**31 - 1], [t[0]]

    assert wired(operator_input) == (
        "operator 0 ADD, inputs: the tensor does not exist; expected an index below 4; found 99"
    )
    assert wired(operator_output) == (
        "operator 0 ADD, outputs: the tensor does not exist; expected an index below 4; found -1"
    )
    assert wired(graph_input).startswith("subgraph 0, inputs: the tensor does not exist")


def test_wrong_order_and_cycles() -> None:
    def cycle(model: ModelBuilder, t: list[int]) -> tuple[list[int], list[int]]:
        model.op("ADD", [t[0], t[2]], [t[1]])
        model.op("ADD", [t[1], t[0]], [t[2]])
        return [t[0]], [t[2]]

    assert wired(cycle) == (
        "operator 0 ADD, input 1: tensor 2 is read before anything has made it; "
        "hint: operators must be in execution order"
    )


def test_tensor_made_twice() -> None:
    def twice(model: ModelBuilder, t: list[int]) -> tuple[list[int], list[int]]:
        model.op("ADD", [t[0], t[0]], [t[1]])
        model.op("ADD", [t[0], t[1]], [t[1]])
        return [t[0]], [t[1]]

    def over_input(model: ModelBuilder, t: list[int]) -> tuple[list[int], list[int]]:
        model.op("ADD", [t[0], t[0]], [t[0]])
        return [t[0]], [t[0]]

    assert "operator 1 ADD, output 0: tensor 1 is made twice" in wired(twice)
    assert "operator 0 ADD, output 0: tensor 0 is made twice" in wired(over_input)


def test_output_that_nothing_makes() -> None:
    def unmade(model: ModelBuilder, t: list[int]) -> tuple[list[int], list[int]]:
        model.op("ADD", [t[0], t[0]], [t[1]])
        return [t[0]], [t[1], t[3]]

    def twice(model: ModelBuilder, t: list[int]) -> tuple[list[int], list[int]]:
        return [t[0], t[0]], [t[0]]

    assert wired(unmade) == "subgraph 0, output 1: nothing makes tensor 3"
    assert wired(twice) == "subgraph 0, inputs: the same tensor is an input twice"


def test_missing_operands_and_results() -> None:
    def operands(model: ModelBuilder, t: list[int]) -> tuple[list[int], list[int]]:
        model.op("ADD", [-1, -1], [t[1]])
        return [t[0]], [t[1]]

    def results(model: ModelBuilder, t: list[int]) -> tuple[list[int], list[int]]:
        model.op("ADD", [t[0], t[0]], [])
        return [t[0]], [t[0]]

    def weights(model: ModelBuilder, t: list[int]) -> tuple[list[int], list[int]]:
        model.op("FULLY_CONNECTED", [t[0]], [t[1]])
        return [t[0]], [t[1]]

    assert wired(operands) == "operator 0 ADD, input 0: an operand is missing"
    assert wired(weights) == "operator 0 FULLY_CONNECTED, input 1: an operand is missing"
    assert wired(results) == "operator 0 ADD: the operator has no operands or no results"


def test_hostile_names_are_shown_harmless() -> None:
    data = patched(convolution(x=(6, 6, 2)), b"\x01\x00\x00\x00x\x00", b"\x01\x00\x00\x00\x1b\x00")
    assert "input 0 (_)" in message(data)


def test_unknown_operators_are_listed() -> None:
    model = ModelBuilder()
    x, y = (model.tensor((1, 4), "float32") for _ in range(2))
    model.op("CUSTOM", [x], [y], custom_code='"; */ \x1b[2J\n')
    (report,) = list_operators(model.build([x], [y]), find_op=find_op)
    assert report.name == "CUSTOM:_; __ _[2J_"
    assert not report.supported
