"""compose-luts: chains of tables become one table, unless something else reads in between."""

from __future__ import annotations

import numpy as np

from tests.compiled import run_graph
from tests.op.quantized_models import all_values
from utvm.ir.dtype import DType
from utvm.ir.graph import Graph, TensorType
from utvm.op.builder import GraphBuilder
from utvm.op.registry import find_op
from utvm.passes.compose_luts import compose_luts


def chain(outputs: tuple[int, ...]) -> tuple[Graph, list[np.ndarray]]:
    """int8 -> uint8 -> int8 -> int16 by three tables; ``outputs`` says which results are read."""
    rng = np.random.default_rng(201)
    tables = [
        rng.integers(np.iinfo(name).min, np.iinfo(name).max + 1, 256).astype(name)
        for name in ("uint8", "int8", "int16")
    ]
    b = GraphBuilder("chain", find_op)
    name = b.input("x", TensorType((1, 256), DType.INT8))
    for number, table in enumerate(tables):
        b.source, b.detail = f"OP #{number}", f"detail {number}"
        name = b.emit("lut", [name, b.constant(table)], name=f"y{number}")
        if number in outputs:
            b.output(name)
    return b.build(), tables


def test_a_chain_becomes_one_table() -> None:
    graph, (first, second, third) = chain((2,))
    composed = compose_luts(graph, find_op)
    (node,) = composed.nodes
    assert node.inputs[0] == "x" and node.outputs == ("y2",)
    assert node.source == "OP #0, OP #1, OP #2"
    assert node.detail == "detail 0, then detail 1, then detail 2"
    inner = second[first.astype(np.int64)].astype(np.int64) + 128
    np.testing.assert_array_equal(composed.constants[node.inputs[1]], third[inner])
    assert len(composed.constants) == 1


def test_what_others_read_stays() -> None:
    graph, _ = chain((0, 2))
    composed = compose_luts(graph, find_op)
    assert [node.outputs for node in composed.nodes] == [("y0",), ("y2",)]


def test_the_result_stays_the_same() -> None:
    x = all_values(DType.INT8)
    graph, (first, second, third) = chain((0, 1, 2))
    whole = run_graph(graph, [x])
    short, _ = chain((2,))
    (found,) = run_graph(compose_luts(short, find_op), [x])
    np.testing.assert_array_equal(found, whole[2])
    inner = second[first.astype(np.int64)].astype(np.int64) + 128
    np.testing.assert_array_equal(found[0], third[inner])
