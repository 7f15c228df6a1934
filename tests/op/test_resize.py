"""resize_nearest and resize_bilinear: compiled TFLite operators equal LiteRT's kernels."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiled import run_graphs
from tests.op.single_op_models import Model, check_models, data_of, op_model, quantized
from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.op.base import Op
from utvm.op.builder import GraphBuilder
from utvm.op.registry import find_op
from utvm.op.resize import RESIZE_BILINEAR, RESIZE_NEAREST, ResizeAttrs
from utvm.support.errors import ModelError

DTYPES = [DType.INT8, DType.UINT8, DType.INT16, DType.FLOAT32]
SIZES = [
    ((1, 3, 4, 2), (6, 8)),
    ((2, 5, 3, 1), (7, 11)),
    ((1, 8, 6, 3), (3, 2)),
    ((1, 1, 1, 4), (3, 3)),
    ((1, 4, 5, 1), (1, 1)),
    ((1, 6, 6, 1), (6, 6)),
]
OPTIONS = [(False, False), (True, False), (False, True)]


def resize_model(
    rng: np.random.Generator,
    kind: str,
    dtype: DType,
    shape: tuple[int, int, int, int],
    size: tuple[int, int],
    options: tuple[bool, bool],
) -> Model:
    quant = quantized(rng, dtype, 0.1)
    return op_model(
        kind,
        [data_of(rng, dtype, shape)],
        [quant],
        (shape[0], *size, shape[3]),
        quant,
        constants=[np.array(size, np.int32)],
        version=3,
        align_corners=options[0],
        half_pixel_centers=options[1],
    )


@pytest.mark.parametrize("kind", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
def test_models_equal_litert(kind: str) -> None:
    rng = np.random.default_rng(101)
    models = [
        resize_model(rng, kind, dtype, shape, size, options)
        for dtype in DTYPES
        for shape, size in SIZES
        for options in OPTIONS
    ]
    check_models(models)


def test_a_core_computes_the_same() -> None:
    rng = np.random.default_rng(102)
    models = [
        resize_model(rng, "RESIZE_BILINEAR", dtype, *SIZES[1], options)
        for dtype in DTYPES
        for options in OPTIONS
    ]
    check_models(models, "cortex-m4")


@pytest.mark.parametrize("op", [RESIZE_NEAREST, RESIZE_BILINEAR], ids=lambda op: op.name)
def test_compiled_equals_reference(op: Op) -> None:
    rng = np.random.default_rng(103)
    cases, expected = [], []
    for dtype in DTYPES:
        for shape, size in SIZES:
            x = data_of(rng, dtype, shape)
            attrs = ResizeAttrs(size, half_pixel_centers=True)
            b = GraphBuilder("resize", find_op)
            b.output(b.emit(op.name, [b.input("x", TensorType(shape, dtype))], attrs))
            assert op.reference is not None
            cases.append((b.build(), [x]))
            expected.append(op.reference([x], attrs)[0])
    for (found,), wanted in zip(run_graphs(cases), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_type_rules_refuse() -> None:
    with pytest.raises(ModelError, match="an image to resize is NHWC"):
        RESIZE_NEAREST.infer([TensorType((4, 4, 1), DType.INT8)], ResizeAttrs((2, 2)))
    with pytest.raises(ModelError, match="the size is not positive"):
        RESIZE_NEAREST.infer([TensorType((1, 4, 4, 1), DType.INT8)], ResizeAttrs((0, 2)))
    with pytest.raises(ModelError, match="cannot interpolate"):
        RESIZE_BILINEAR.infer([TensorType((1, 4, 4, 1), DType.INT32)], ResizeAttrs((2, 2)))
