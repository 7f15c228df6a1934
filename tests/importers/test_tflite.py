"""TFLite files become graphs: layers, padding, quantization, names, and the list of operators."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tflite_builder import ModelBuilder
from utvm.importers.tflite import import_tflite, list_operators
from utvm.ir.graph import Graph, Quantization
from utvm.op.conv2d import Conv2dAttrs
from utvm.op.dense import DenseAttrs
from utvm.op.elementwise import BinaryAttrs
from utvm.op.registry import find_op
from utvm.op.reshape import ReshapeAttrs
from utvm.support.errors import UnsupportedError


def convolution(
    size: tuple[int, int] = (6, 5), window: tuple[int, int] = (3, 3), **options: object
) -> bytes:
    """A float convolution of 2 channels into 4 whose result shape TFLite's rule gives."""
    model = ModelBuilder()
    strides = (int(str(options.get("stride_h", 1))), int(str(options.get("stride_w", 1))))
    reach = [
        (taps - 1) * int(str(options.get(key, 1))) + 1
        for taps, key in zip(window, ("dilation_h_factor", "dilation_w_factor"), strict=True)
    ]
    is_same = options.get("padding", "SAME") == "SAME"
    out = [
        -(-n // stride) if is_same else -(-(n - r + 1) // stride)
        for n, r, stride in zip(size, reach, strides, strict=True)
    ]
    x = model.tensor((1, *size, 2), "float32", name="x")
    weight = model.tensor((4, *window, 2), "float32", data=np.ones((4, *window, 2)))
    y = model.tensor((1, *out, 4), "float32", name="y")
    model.op("CONV_2D", [x, weight], [y], **options)
    return model.build([x], [y])


def imported(data: bytes) -> Graph:
    return import_tflite(data, name="net", find_op=find_op)


def test_convolution_keeps_layout_and_options() -> None:
    options = {"stride_h": 2, "stride_w": 1, "dilation_w_factor": 2}
    graph = imported(convolution(fused_activation_function="RELU6", **options))
    (node,) = graph.nodes
    assert node.op == "conv2d"
    assert node.source == "CONV_2D #0"
    assert node.inputs == ("x", "tensor_1")
    assert node.outputs == graph.outputs == ("y",)
    assert node.attrs == Conv2dAttrs((2, 1), (1, 2), (0, 1, 2, 2), "relu6")
    assert graph.inputs == ("x",)
    assert graph.constants["tensor_1"].shape == (4, 3, 3, 2)


@pytest.mark.parametrize(
    ("size", "window", "options", "padding"),
    [
        ((6, 5), (3, 3), {}, (1, 1, 1, 1)),
        ((6, 5), (2, 4), {}, (0, 1, 1, 2)),
        ((6, 5), (3, 3), {"padding": "VALID"}, (0, 0, 0, 0)),
        ((6, 5), (3, 3), {"stride_h": 2, "stride_w": 2}, (0, 1, 1, 1)),
        ((6, 5), (1, 1), {"stride_h": 3, "stride_w": 4}, (0, 0, 0, 0)),
        ((7, 7), (3, 3), {"dilation_h_factor": 2, "dilation_w_factor": 3}, (2, 2, 3, 3)),
    ],
)
def test_padding_is_explicit(
    size: tuple[int, int],
    window: tuple[int, int],
    options: dict[str, object],
    padding: tuple[int, int, int, int],
) -> None:
    (node,) = imported(convolution(size, window, **options)).nodes
    assert isinstance(node.attrs, Conv2dAttrs)
    assert node.attrs.padding == padding


def test_quantization_per_tensor_and_per_channel() -> None:
    model = ModelBuilder()
    x = model.tensor((1, 4, 4, 2), "int8", 0.5, -3, name="x")
    weight = model.tensor(
        (3, 1, 1, 2), "int8", [0.25, 0.5, 1.0], axis=0, data=np.ones((3, 1, 1, 2)), name="w"
    )
    bias = model.tensor((3,), "int32", [0.125, 0.25, 0.5], axis=0, data=[1, 2, 3], name="b")
    y = model.tensor((1, 4, 4, 3), "int8", 0.75, 5, name="y")
    model.op("CONV_2D", [x, weight, bias], [y])
    graph = imported(model.build([x], [y]))
    assert graph.values["x"].quantization == Quantization((0.5,), (-3,))
    assert graph.values["w"].quantization == Quantization((0.25, 0.5, 1.0), (0, 0, 0), 0)
    assert graph.values["b"].quantization == Quantization((0.125, 0.25, 0.5), (0, 0, 0), 0)
    assert graph.values["y"].quantization == Quantization((0.75,), (5,))
    np.testing.assert_array_equal(graph.constants["b"], [1, 2, 3])


def test_axis_of_a_bias_is_always_its_only_one() -> None:
    model = ModelBuilder()
    x = model.tensor((1, 2), "int8", 0.5, 0)
    weight = model.tensor((3, 2), "int8", 0.25, data=np.ones((3, 2)))
    bias = model.tensor((3,), "int32", [0.125, 0.25, 0.5], axis=3, data=[1, 2, 3], name="b")
    y = model.tensor((1, 3), "int8", 0.75, 5)
    model.op("FULLY_CONNECTED", [x, weight, bias], [y])
    graph = imported(model.build([x], [y]))
    quantization = graph.values["b"].quantization
    assert quantization is not None
    assert quantization.axis == 0


def fully_connected(shape: tuple[int, ...], out: tuple[int, ...], keep: bool) -> Graph:
    model = ModelBuilder()
    x = model.tensor(shape, "float32", name="x")
    weight = model.tensor((3, 4), "float32", data=np.ones((3, 4)), name="w")
    y = model.tensor(out, "float32", name="y")
    model.op("FULLY_CONNECTED", [x, weight, -1], [y], keep_num_dims=keep)
    return imported(model.build([x], [y]))


def test_fully_connected_of_rank_2_is_one_node() -> None:
    graph = fully_connected((5, 4), (5, 3), keep=False)
    assert [node.op for node in graph.nodes] == ["dense"]
    assert graph.nodes[0].inputs == ("x", "w")
    assert graph.nodes[0].attrs == DenseAttrs()


def test_fully_connected_flattens_its_input() -> None:
    graph = fully_connected((1, 2, 2, 4), (4, 3), keep=False)
    assert [node.op for node in graph.nodes] == ["reshape", "dense"]
    assert graph.nodes[0].attrs == ReshapeAttrs((4, 4))


def test_fully_connected_keeps_leading_dimensions() -> None:
    graph = fully_connected((1, 2, 2, 4), (1, 2, 2, 3), keep=True)
    assert [node.op for node in graph.nodes] == ["reshape", "dense", "reshape"]
    assert graph.values[graph.nodes[1].outputs[0]].shape == (4, 3)
    assert graph.nodes[2].outputs == graph.outputs == ("y",)


def test_sum_carries_activation_and_scale_rule() -> None:
    model = ModelBuilder()
    a, b = (model.tensor((1, 8), "int16", 0.5, 0) for _ in range(2))
    y = model.tensor((1, 8), "int16", 1.0, 0)
    model.op("ADD", [a, b], [y], pot_scale_int16=False, fused_activation_function="RELU")
    (node,) = imported(model.build([a, b], [y])).nodes
    assert node.op == "add"
    assert node.attrs == BinaryAttrs("relu", power_of_two=False)


def test_shape_becomes_a_constant() -> None:
    model = ModelBuilder()
    x = model.tensor((1, 6, 4), "float32")
    shape = model.tensor((3,), "int32", name="shape")
    y = model.tensor((1, 24), "float32")
    model.op("SHAPE", [x], [shape])
    model.op("RESHAPE", [x, shape], [y])
    graph = imported(model.build([x], [y, shape]))
    assert [node.op for node in graph.nodes] == ["reshape"]
    np.testing.assert_array_equal(graph.constants["shape"], [1, 6, 4])


def test_names_are_short_distinct_identifiers() -> None:
    model = ModelBuilder()
    hostile = '*/ #include "/etc/passwd" \n'
    names = ["block/conv/BiasAdd;block/conv/Conv2D", hostile, hostile, "", "3", "x" * 500]
    tensors = [model.tensor((1, 4), "float32", name=name) for name in names]
    y = model.tensor((1, 4), "float32", name="while")
    model.op("ADD", tensors[:2], [y])
    graph = imported(model.build(tensors, [y]))
    assert graph.inputs[0] == "block_conv_biasadd"
    assert len(set(graph.inputs)) == len(names)
    for name in graph.values:
        assert name.isidentifier() and name.isascii() and len(name) <= 40, name


def test_input_that_nothing_reads_stays() -> None:
    model = ModelBuilder()
    x, unused = model.tensor((1, 4), "float32"), model.tensor((9,), "int32", name="unused")
    y = model.tensor((4,), "float32")
    model.op("RESHAPE", [x], [y])
    graph = imported(model.build([unused, x], [y]))
    assert graph.inputs == ("unused", "tensor_0")


def test_operators_behind_an_unsupported_one_are_listed() -> None:
    model = ModelBuilder()
    x = model.tensor((1, 4), "float32", name="x")
    a, b, y = (model.tensor((1, 4), "float32", name=f"t*/{i}") for i in range(3))
    model.op("CUSTOM", [x], [a], custom_code="My*/Op")
    model.op("ADD", [a, x], [b])
    model.op("COS", [b], [y])
    data = model.build([x], [y])
    reports = list_operators(data, find_op=find_op)
    assert [(r.index, r.name, r.supported) for r in reports] == [
        (0, "CUSTOM:My__Op", False),
        (1, "ADD", True),
        (2, "COS", False),
    ]
    assert reports[1].inputs == ("float32[1,4]", "float32[1,4]")
    assert reports[1].outputs == ("float32[1,4]",)
    assert [report.reason for report in reports] == [
        "this operator is not supported",
        "",
        "this operator is not supported",
    ]
    with pytest.raises(UnsupportedError) as error:
        imported(data)
    assert str(error.value) == (
        "2 of 3 operators are not supported (1 CUSTOM:My__Op, 1 COS); the first: "
        "operator 0 CUSTOM:My__Op: this operator is not supported; "
        "hint: utvm inspect lists every operator with the reason"
    )
