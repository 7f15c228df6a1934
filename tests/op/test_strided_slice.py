"""strided_slice: compiled SLICE, STRIDED_SLICE, SPLIT and UNPACK equal LiteRT."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.op.plain_models import Plain, check_plain
from tests.op.quantized_models import add_tensor, random_quant
from tests.op.single_op_models import Model, check_models, data_of, op_model
from tests.tflite_builder import ModelBuilder
from utvm.driver.pipeline import compile_graph
from utvm.ir.dtype import DType
from utvm.ir.loop import For
from utvm.ir.rewrite import statements
from utvm.op.strided_slice import StridedSliceAttrs
from utvm.support.errors import ModelError
from utvm.target.target import load_target

I8, U8, I16, F32 = DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32
DTYPES = [I8, U8, I16, F32, DType.INT32]
# Shape, begin, strides, count.
CASES = [
    ((1, 6, 5, 4), (0, 1, 0, 0), (1, 1, 1, 1), (1, 4, 5, 4)),
    ((1, 6, 5, 4), (0, 5, 4, 0), (1, -2, -1, 3), (1, 3, 5, 2)),
    ((9,), (8,), (-3,), (3,)),
    ((2, 3, 4), (1, 0, 1), (1, 1, 2), (1, 3, 2)),
    ((3, 4), (0, 2), (2, 1), (2, 2)),
    ((2, 3), (0, 0), (1, 1), (2, 3)),
    ((4, 3), (3, 2), (-1, -5), (4, 1)),
]


def i32(values: tuple[int, ...] | int) -> np.ndarray:
    return np.array(values, np.int32)


def slice_model(rng: np.random.Generator, dtype: DType, case: tuple[tuple[int, ...], ...]) -> Model:
    shape, begin, strides, count = case
    # One behind the last; in front of the first position it is written from the end.
    end = [b + c * s for b, c, s in zip(begin, count, strides, strict=True)]
    end = [e if e >= 0 else e - n for e, n in zip(end, shape, strict=True)]
    quant = None if dtype in (F32, DType.INT32) else random_quant(rng, dtype)
    constants = [i32(begin), i32(tuple(end)), i32(strides)]
    data = [data_of(rng, dtype, shape)]
    return op_model("STRIDED_SLICE", data, [quant], count, quant, constants=constants, version=2)


def test_strided_slices_equal_litert() -> None:
    rng = np.random.default_rng(161)
    check_models([slice_model(rng, dtype, case) for dtype in DTYPES for case in CASES])


def test_masks_and_slices_equal_litert() -> None:
    rng = np.random.default_rng(162)
    x = data_of(rng, I8, (2, 6, 5, 4))
    quant = random_quant(rng, I8)

    def strided(shape: tuple[int, ...], *constants: tuple[int, ...], **options: Any) -> Model:
        arrays = [i32(values) for values in constants]
        return op_model(
            "STRIDED_SLICE", [x], [quant], shape, quant, constants=arrays, version=2, **options
        )

    models = [
        strided((4, 5, 4), (1, 1, 0, 0), (2, 5, 9, 9), (1, 1, 1, 1), shrink_axis_mask=1),
        strided((2, 3, 5, 4), (0, -1, 0, 0), (2, 0, 5, 4), (1, -2, 1, 1), begin_mask=5, end_mask=2),
        strided((2, 6), (0, 0, 2, 1), (0, 0, 3, 2), (1, 1, 1, 1), end_mask=3, shrink_axis_mask=12),
        op_model("SLICE", [x], [quant], (1, 4, 5, 2), quant,
                 constants=[i32((1, 2, 0, 1)), i32((1, -1, 5, 2))], version=2),
    ]  # fmt: skip
    check_models(models)


def parts_model(
    rng: np.random.Generator, kind: str, shapes: list[tuple[int, ...]], axis: int
) -> Model:
    """SPLIT, SPLIT_V or UNPACK of a [4, 6, 3] tensor into parts of these shapes."""
    builder = ModelBuilder()
    quant, data = random_quant(rng, U8), data_of(rng, U8, (4, 6, 3))
    x = add_tensor(builder, quant, data, False)
    at = [] if kind == "UNPACK" else [add_tensor(builder, None, i32(axis), True)]
    operands = {"SPLIT": [*at, x], "UNPACK": [x]}
    if kind == "SPLIT_V":
        sizes = i32(tuple(shape[axis] for shape in shapes))
        operands[kind] = [x, add_tensor(builder, None, sizes, True), *at]
    outs = [add_tensor(builder, quant, np.zeros(shape, np.uint8), False) for shape in shapes]
    count = len(shapes)
    options = {"num": count, "axis": axis} if kind == "UNPACK" else {"num_splits": count}
    builder.op(kind, operands[kind], outs, version=1, **options)
    return Model(builder.build([x], outs), (data,), f"{kind} {shapes} {axis}")


def test_parts_equal_litert() -> None:
    rng = np.random.default_rng(163)
    check_models([
        parts_model(rng, "SPLIT", [(4, 2, 3)] * 3, 1),
        parts_model(rng, "SPLIT", [(2, 6, 3)] * 2, 0),
        parts_model(rng, "SPLIT_V", [(4, 6, 1), (4, 6, 2)], 2),
        parts_model(rng, "UNPACK", [(6, 3)] * 4, 0),
        parts_model(rng, "UNPACK", [(4, 6)] * 3, 2),
    ])  # fmt: skip


def test_plain_numbers_equal_the_reference() -> None:
    rng = np.random.default_rng(164)
    check_plain([
        Plain("strided_slice", [data_of(rng, dtype, shape)], StridedSliceAttrs(*rest))
        for shape, *rest in CASES
        for dtype in (I8, F32)
    ])  # fmt: skip


@pytest.mark.parametrize(("case", "loops"), [(0, 1), (1, 3), (2, 1), (3, 2), (5, 1)])
def test_adjacent_elements_share_a_loop(case: int, loops: int) -> None:
    shape, *rest = CASES[case]
    plain = Plain("strided_slice", [np.zeros(shape, np.int8)], StridedSliceAttrs(*rest))
    (function,) = compile_graph(plain.graph(), load_target("host")).module.functions
    assert sum(isinstance(stmt, For) for stmt in statements(function.body)) == loops


def test_slices_outside_are_refused() -> None:
    x = np.zeros((3, 4), np.int8)
    for attrs, text in (
        (StridedSliceAttrs((0, 0), (1, 1), (3, 5)), "leaves the tensor"),
        (StridedSliceAttrs((0, 1), (1, -1), (3, 3)), "leaves the tensor"),
        (StridedSliceAttrs((0, 0), (1, 1), (0, 4)), "leaves the tensor or is empty"),
        (StridedSliceAttrs((0, 0), (0, 1), (1, 1)), "a stride is not 0"),
        (StridedSliceAttrs((0,), (1,), (1,)), "one entry per axis"),
    ):
        with pytest.raises(ModelError, match=text):
            Plain("strided_slice", [x], attrs).graph()
