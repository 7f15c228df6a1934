"""lut: 256-entry tables in every element type, alone and fused, broadcast operands beside them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiled import run_graph
from tests.op.plain_models import Plain, check_plain
from tests.op.quantized_models import all_values, random_data
from utvm.driver.pipeline import compile_graph
from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.op.builder import GraphBuilder
from utvm.op.elementwise import BinaryAttrs
from utvm.op.registry import find_op
from utvm.support.errors import ModelError
from utvm.target.target import load_target

I8, U8 = DType.INT8, DType.UINT8


def test_tables_of_every_type_equal_the_reference() -> None:
    rng = np.random.default_rng(121)
    cases = []
    for source in (I8, U8):
        for name in ("int8", "uint8", "int16", "int32", "float32"):
            table = rng.integers(0, 100, 256).astype(name)
            for x in (all_values(source), random_data(rng, source, (2, 3, 5))):
                cases.append(Plain("lut", [x, table], constant=[1]))
    check_plain(cases)


@pytest.mark.parametrize("shape", [(2, 128), (3, 256), (256,), (4, 4, 16), (2, 3)])
def test_a_table_does_not_broadcast(shape: tuple[int, ...]) -> None:
    """Even where its 256 entries look like the tensor's shape; the addend does broadcast."""
    rng = np.random.default_rng(122)
    table = rng.integers(-60, 60, 256).astype(np.int8)
    addend = rng.integers(-60, 60, shape[-1:]).astype(np.int8)
    b = GraphBuilder("lut", find_op)
    x = b.input("x", TensorType(shape, I8))
    looked_up = b.emit("lut", [x, b.constant(table)])
    b.output(b.emit("add", [looked_up, b.constant(addend)], BinaryAttrs()))
    graph = b.build()
    assert len(compile_graph(graph, load_target("host")).module.functions) == 1
    data = random_data(rng, I8, shape)
    (found,) = run_graph(graph, [data])
    expected = table[data.astype(np.int64) + 128].astype(np.int64) + addend
    np.testing.assert_array_equal(found, expected)


def test_only_bytes_are_looked_up() -> None:
    table = np.zeros(256, np.int8)
    with pytest.raises(ModelError, match="only 8-bit numbers"):
        Plain("lut", [np.zeros(3, np.int16), table]).graph()
    with pytest.raises(ModelError, match="wrong table"):
        Plain("lut", [np.zeros(3, np.int8), table[:255]]).graph()
