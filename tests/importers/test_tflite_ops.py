"""Every row of the operator table: which nodes come out, with which attributes.

One-operator models of every kind, float and quantized, go through the importer; masks, negative
axes and sizes must come out as plain numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.tflite_builder import ModelBuilder
from tests.tflite_cases import CASES, MOVING, QUANTIZABLE, Case, float_model, quantized_model
from utvm.importers.tflite import import_tflite, list_operators
from utvm.importers.tflite_ops import ROWS
from utvm.importers.tflite_options import OPTIONS, TABLES
from utvm.ir.graph import Graph
from utvm.op.registry import find_op
from utvm.support.errors import ModelError, UnsupportedError, UtvmError

# What each case of tests/tflite_cases.py becomes; others keep their name in lower case.
NODES = {
    "ARG_MAX": ["arg_max"],
    "AVERAGE_POOL_2D": ["avg_pool2d"],
    "CONCATENATION": ["concat"],
    "CONV_2D": ["conv2d"],
    "DEPTHWISE_CONV_2D": ["depthwise_conv2d"],
    "EXPAND_DIMS": ["reshape"],
    "FULLY_CONNECTED": ["dense"],
    "MAX_POOL_2D": ["max_pool2d"],
    "MIRROR_PAD": ["pad"],
    "PACK": ["reshape", "reshape", "concat"],
    "PADV2": ["pad"],
    "RELU6": ["relu"],
    "RELU_N1_TO_1": ["relu"],
    "RESIZE_NEAREST_NEIGHBOR": ["resize_nearest"],
    "SHAPE": [],
    "SLICE": ["strided_slice"],
    "SPLIT": ["strided_slice", "strided_slice"],
    "SPLIT_V": ["strided_slice", "strided_slice"],
    "SQUEEZE": ["reshape"],
    "STRIDED_SLICE": ["strided_slice", "reshape"],
    "TRANSPOSE_CONV": ["transpose_conv2d"],
    "UNPACK": ["strided_slice", "reshape"] * 5,
}
SUPPORTED = [case for case in CASES if case.kind in ROWS]
# LiteRT has no int16 kernels for these.
WITHOUT_INT16 = {"HARD_SWISH", "RELU_N1_TO_1"}
QUANTIZED = [
    pytest.param(case, dtype, id=f"{case.name}-{dtype}")
    for dtype in ("int8", "uint8", "int16")
    for case in QUANTIZABLE
    if case.kind in ROWS and not (dtype == "int16" and case.kind in WITHOUT_INT16)
]


def imported(data: bytes) -> Graph:
    return import_tflite(data, name="net", find_op=find_op)


def check(data: bytes, case: Case) -> None:
    graph = imported(data)
    assert [node.op for node in graph.nodes] == NODES.get(case.kind, [case.kind.lower()])
    assert [graph.values[name].shape for name in graph.outputs] == [
        array.shape for array in case.expected
    ]
    (report,) = list_operators(data, find_op=find_op)
    assert report.supported
    assert report.name == case.kind


@pytest.mark.parametrize("case", SUPPORTED, ids=lambda case: case.name)
def test_float_operator(case: Case) -> None:
    check(float_model(case)[0], case)


@pytest.mark.parametrize(("case", "dtype"), QUANTIZED)
def test_quantized_operator(case: Case, dtype: str) -> None:
    check(quantized_model(case, dtype).model, case)


@pytest.mark.parametrize("case", MOVING, ids=lambda case: case.name)
def test_movement_gives_the_elements_that_numpy_gives(case: Case) -> None:
    model, inputs = float_model(case)
    graph = imported(model)
    arrays = {**graph.constants, **dict(zip(graph.inputs, inputs, strict=True))}
    for node in graph.nodes:
        reference = find_op(node.op).reference
        assert reference is not None
        results = reference([arrays[name] for name in node.inputs], node.attrs)
        arrays.update(zip(node.outputs, results, strict=True))
    for name, expected in zip(graph.outputs, case.expected, strict=True):
        np.testing.assert_array_equal(arrays[name], expected)


@pytest.mark.parametrize(
    "case", [case for case in QUANTIZABLE if case.kind in WITHOUT_INT16], ids=lambda case: case.name
)
def test_types_without_a_kernel(case: Case) -> None:
    with pytest.raises(UnsupportedError, match="combination of element types"):
        imported(quantized_model(case, "int16").model)


def test_every_case_is_in_the_table() -> None:
    assert {case.kind for case in CASES} <= set(ROWS)
    assert set(OPTIONS) <= set(ROWS)
    assert set(OPTIONS.values()) == set(TABLES)


def slice_of(
    shape: tuple[int, ...],
    numbers: tuple[list[int], list[int], list[int]],
    out: tuple[int, ...],
    **masks: Any,
) -> Graph:
    model = ModelBuilder()
    x, y = model.tensor(shape, "float32"), model.tensor(out, "float32")
    operands = [model.tensor((len(n),), "int32", data=n) for n in numbers]
    model.op("STRIDED_SLICE", [x, *operands], [y], **masks)
    return imported(model.build([x], [y]))


@pytest.mark.parametrize(
    ("numbers", "masks", "index"),
    [
        (([1, 0], [3, 4], [1, 2]), {}, np.s_[1:3, 0:4:2]),
        (([-2, 9], [9, -9], [1, -2]), {}, np.s_[-2:9, 9:-9:-2]),
        (([5], [0], [-1]), {"end_mask": 1}, np.s_[5::-1]),
        (([5], [2], [1]), {"begin_mask": 1, "end_mask": 1}, np.s_[:]),
        (([-1], [0], [1]), {"shrink_axis_mask": 1}, np.s_[-1]),
        (([0, 1], [0, 3], [1, 1]), {"ellipsis_mask": 1}, np.s_[..., 1:3]),
        (([1, 0, 2], [2, 0, 3], [1, 1, 1]), {"ellipsis_mask": 2}, np.s_[1:2, ..., 2:3]),
        (([0, 1], [0, 3], [1, 1]), {"new_axis_mask": 1}, np.s_[None, 1:3]),
        (
            ([0, 0, 1], [0, 0, 2], [1, 1, 1]),
            {"ellipsis_mask": 1, "new_axis_mask": 2, "shrink_axis_mask": 4},
            np.s_[..., None, 1],
        ),
        (([1], [2], [1]), {"offset": True}, np.s_[1:3]),
    ],
)
def test_strided_slice_as_numpy(
    numbers: tuple[list[int], list[int], list[int]], masks: dict[str, Any], index: Any
) -> None:
    x = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    expected = x[index]
    graph = slice_of(x.shape, numbers, expected.shape, **masks)
    attrs: Any = graph.nodes[0].attrs
    picked = x
    for axis, (begin, stride, count) in enumerate(
        zip(attrs.begin, attrs.strides, attrs.shape, strict=True)
    ):
        assert 0 <= begin < x.shape[axis]
        picked = picked.take([begin + stride * i for i in range(count)], axis)
    np.testing.assert_array_equal(picked.reshape(expected.shape), expected)
    assert len(graph.nodes) == 1 + (attrs.shape != expected.shape)


@pytest.mark.parametrize(
    ("numbers", "masks", "kind", "text"),
    [
        (([0], [1], [0]), {}, ModelError, "a stride is zero"),
        (([0], [1, 2], [1]), {}, ModelError, "begin, end and strides differ in length"),
        (([3], [1], [1]), {}, UnsupportedError, "the slice is empty"),
        (([4], [5], [1]), {"shrink_axis_mask": 1}, ModelError, "an element outside its input"),
        (([0] * 4, [1] * 4, [1] * 4), {}, ModelError, "the slice does not fit its input"),
        (
            ([0] * 2, [1] * 2, [1] * 2),
            {"ellipsis_mask": 3},
            ModelError,
            "the slice does not fit its input",
        ),
    ],
)
def test_strided_slice_refused(
    numbers: tuple[list[int], list[int], list[int]],
    masks: dict[str, Any],
    kind: type[UtvmError],
    text: str,
) -> None:
    with pytest.raises(kind, match=text):
        slice_of((4, 5, 6), numbers, (1, 5, 6), **masks)


def one_op(
    kind: str,
    x: tuple[int, ...],
    operands: list[Any],
    results: list[tuple[int, ...]],
    first: bool = False,
    **options: Any,
) -> Graph:
    """One operator with constant operands of int32, which stand first or behind the input."""
    model = ModelBuilder()
    source = model.tensor(x, "float32")
    constants = [
        model.tensor(np.shape(data), "int32", data=np.array(data, np.int32)) for data in operands
    ]
    outputs = [model.tensor(shape, "float32") for shape in results]
    inputs = [*constants, source] if first else [source, *constants]
    model.op(kind, inputs, outputs, **options)
    return imported(model.build([source], outputs))


def attrs_of(graph: Graph) -> list[Any]:
    return [node.attrs for node in graph.nodes]


def test_axes_and_sizes_are_counted_from_the_front() -> None:
    (mean,) = attrs_of(one_op("MEAN", (2, 3, 4), [[-1, 0, 2]], [(3,)]))
    assert (mean.axes, mean.keep_dims) == ((0, 2), False)
    (part,) = attrs_of(one_op("SLICE", (2, 3, 4), [[0, 1, 1], [-1, 2, -1]], [(2, 2, 3)]))
    assert (part.begin, part.strides, part.shape) == ((0, 1, 1), (1, 1, 1), (2, 2, 3))
    parts = attrs_of(one_op("SPLIT_V", (2, 6), [[1, -1], -1], [(2, 1), (2, 5)], num_splits=2))
    assert [(p.begin, p.shape) for p in parts] == [((0, 0), (2, 1)), ((0, 1), (2, 5))]
    parts = attrs_of(one_op("SPLIT", (2, 6), [-1], [(2, 3)] * 2, first=True, num_splits=2))
    assert [(p.begin, p.shape) for p in parts] == [((0, 0), (2, 3)), ((0, 3), (2, 3))]
    (order,) = attrs_of(one_op("TRANSPOSE", (2, 3, 4), [[0, -1, 1]], [(2, 4, 3)]))
    assert order.permutation == (0, 2, 1)


@pytest.mark.parametrize(
    ("kind", "x", "operands", "results", "options", "text"),
    [
        ("MEAN", (2, 3), [[2]], [(2,)], {}, "the axis does not exist"),
        ("TRANSPOSE", (2, 3), [[0, 0]], [(2, 2)], {}, "the axes are no permutation"),
        ("PAD", (2, 3), [[[0, 0]]], [(2, 3)], {}, "the paddings do not fit the input"),
        ("PAD", (2, 3), [[[0, -1], [0, 0]]], [(1, 3)], {}, "a padding is negative"),
        ("MIRROR_PAD", (2, 3), [[[0, 2], [0, 0]]], [(4, 3)], {}, "larger than what it mirrors"),
        ("SLICE", (2, 3), [[0, 2], [1, 2]], [(1, 2)], {}, "the slice leaves its input"),
        ("SLICE", (2, 3), [[0], [1]], [(1, 3)], {}, "begin and size do not fit the input"),
        ("SPLIT_V", (2, 6), [[1, 4], 1], [(2, 1), (2, 4)], {}, "the sizes do not fit the axis"),
        ("SPLIT_V", (2, 6), [[6], 1], [(2, 3), (2, 3)], {}, "sizes and results differ"),
        ("UNPACK", (2, 3), [], [(3,)], {"num": 1}, "the number of results does not fit"),
        ("GATHER", (2, 3), [[0, 3]], [(2, 2)], {"axis": 1}, "an index is outside the axis"),
        ("RESHAPE", (2, 3), [[7]], [(7,)], {}, "reshape changes the number of elements"),
        ("ARG_MAX", (2, 3), [[0, 1]], [(2,)], {}, "this combination of element types"),
    ],
)
def test_operands_that_contradict_the_input(
    kind: str,
    x: tuple[int, ...],
    operands: list[Any],
    results: list[tuple[int, ...]],
    options: dict[str, Any],
    text: str,
) -> None:
    with pytest.raises(UtvmError, match=text) as error:
        one_op(kind, x, operands, results, **options)
    assert str(error.value).startswith(f"operator 0 {kind}")


def test_axes_computed_at_run_time_are_refused() -> None:
    model = ModelBuilder()
    x, axes = model.tensor((2, 3), "float32"), model.tensor((1,), "int32", name="axes")
    y = model.tensor((2,), "float32")
    model.op("MEAN", [x, axes], [y])
    with pytest.raises(UnsupportedError) as error:
        imported(model.build([x, axes], [y]))
    assert str(error.value).startswith(
        "operator 0 MEAN, input 1 (axes): axes are computed at run time; expected a constant"
    )


def test_padding_value_of_padv2() -> None:
    model = ModelBuilder()
    x = model.tensor((1, 2), "int8", 0.5, 3)
    pads = model.tensor((2, 2), "int32", data=[[0, 0], [1, 1]])
    value = model.tensor((), "int8", 0.5, 3, data=[7])
    y = model.tensor((1, 4), "int8", 0.5, 3)
    model.op("PADV2", [x, pads, value], [y])
    (attrs,) = attrs_of(imported(model.build([x], [y])))
    assert (attrs.before, attrs.after, attrs.mode) == ((0, 1), (0, 1), "constant")
    assert attrs.value == 7


def test_concatenation_of_int8_keeps_one_scale() -> None:
    model = ModelBuilder()
    a, b = model.tensor((1, 2), "int8", 0.5, 0), model.tensor((1, 2), "int8", 0.25, 0)
    y = model.tensor((1, 4), "int8", 0.5, 0)
    model.op("CONCATENATION", [a, b], [y], axis=-1)
    with pytest.raises(UnsupportedError, match="must have the same quantization"):
        imported(model.build([a, b], [y]))


def test_transposed_convolution_with_its_shape_as_an_input() -> None:
    model = ModelBuilder()
    shape = model.tensor((4,), "int32", name="shape")
    weight = model.tensor((3, 2, 2, 4), "float32", data=np.ones((3, 2, 2, 4)), name="w")
    x = model.tensor((1, 3, 3, 4), "float32", name="x")
    y = model.tensor((1, 6, 6, 3), "float32", name="y")
    model.op("TRANSPOSE_CONV", [shape, weight, x], [y], stride_h=2, stride_w=2)
    graph = imported(model.build([shape, x], [y]))
    assert graph.inputs == ("shape", "x")
    assert graph.nodes[0].inputs == ("x", "w")
    (attrs,) = attrs_of(graph)
    assert (attrs.strides, attrs.padding, attrs.size) == ((2, 2), (0, 0), (6, 6))
