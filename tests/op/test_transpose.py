"""transpose: compiled TFLite operators equal LiteRT, plain ones the reference."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from tests.compiled import run_graph
from tests.op.plain_models import Plain, check_plain
from tests.op.quantized_models import random_quant
from tests.op.single_op_models import check_models, data_of, op_model
from utvm.driver.pipeline import compile_graph
from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.ir.loop import For
from utvm.ir.rewrite import statements
from utvm.op.builder import GraphBuilder
from utvm.op.elementwise import BinaryAttrs
from utvm.op.registry import find_op
from utvm.op.transpose import TransposeAttrs
from utvm.support.errors import ModelError
from utvm.target.target import load_target

I8, F32 = DType.INT8, DType.FLOAT32
SHAPE = (2, 3, 4, 5)
ORDERS = list(permutations(range(4)))


def moved(shape: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(shape[axis] for axis in order)


def test_models_equal_litert() -> None:
    rng = np.random.default_rng(171)
    models = []
    for dtype in (I8, DType.UINT8, DType.INT16, DType.INT32, F32):
        quant = None if dtype in (F32, DType.INT32) else random_quant(rng, dtype)
        for order in ORDERS[:: 1 if dtype is I8 else 5]:
            data = [data_of(rng, dtype, SHAPE)]
            constants = [np.array(order, np.int32)]
            shape = moved(SHAPE, order)
            models.append(
                op_model("TRANSPOSE", data, [quant], shape, quant, constants=constants, version=2)
            )
    check_models(models)


def test_plain_numbers_equal_the_reference() -> None:
    rng = np.random.default_rng(172)
    shapes = [(1, 3, 1, 5), (4, 1, 2, 1), (1, 1, 1, 1)]
    check_plain([
        Plain("transpose", [data_of(rng, I8, shape)], TransposeAttrs(order))
        for shape in shapes
        for order in ORDERS[::4]
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "order", "loops"),
    [
        ((2, 3, 4, 5), (0, 3, 1, 2), 3),
        ((1, 3, 4, 5), (0, 3, 1, 2), 2),
        ((2, 3, 4, 5), (1, 0, 2, 3), 3),
        ((2, 3, 1, 5), (2, 0, 1, 3), 0),
    ],
)
def test_neighbours_share_a_loop(
    shape: tuple[int, ...], order: tuple[int, ...], loops: int
) -> None:
    plain = Plain("transpose", [np.zeros(shape, np.int8)], TransposeAttrs(order))
    functions = compile_graph(plain.graph(), load_target("host")).module.functions
    nests = [s for f in functions if f.op == "transpose" for s in statements(f.body)]
    assert sum(isinstance(stmt, For) for stmt in nests) == loops


@pytest.mark.parametrize("shape", [(1,), (5,), (4, 1), (3, 4, 5)])
def test_operators_behind_are_fused(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(173)
    x = rng.integers(-99, 99, (4, 5, 3)).astype(np.int32)
    addend = rng.integers(-99, 99, shape).astype(np.int32)
    b = GraphBuilder("fused", find_op)
    turned = b.emit("transpose", [b.input("x", TensorType(x.shape, DType.INT32))],
                    TransposeAttrs((2, 0, 1)))  # fmt: skip
    b.output(b.emit("add", [turned, b.constant(addend)], BinaryAttrs()))
    graph = b.build()
    assert len(compile_graph(graph, load_target("host")).module.functions) == 1
    (found,) = run_graph(graph, [x])
    np.testing.assert_array_equal(found, x.transpose(2, 0, 1) + addend)


def test_other_orders_are_refused() -> None:
    with pytest.raises(ModelError, match="not a permutation of the axes"):
        Plain("transpose", [np.zeros((2, 3), np.int8)], TransposeAttrs((0, 0))).graph()
