"""What objectives promise of constants, on real networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from utvm.driver.pipeline import compile_graph
from utvm.importers.tflite import import_tflite
from utvm.ir.graph import Graph
from utvm.op.registry import find_op
from utvm.target.target import load_target

NETWORKS = ["mlperf_ad01_int8", "mlperf_kws_int8", "mlperf_resnet8_int8", "mlperf_sww_int8"]


@pytest.mark.parametrize("network", NETWORKS)
def test_balanced_spends_half_as_much_again(network: str, shared_models: Path) -> None:
    data = (shared_models / network / "model.tflite").read_bytes()
    graph = import_tflite(data, name="model", find_op=find_op)
    own = sum(array.nbytes for array in graph.constants.values())
    balanced, size = (_constants(graph, objective) for objective in ("balanced", "size"))
    assert size <= balanced <= 1.5 * own


def _constants(graph: Graph, objective: str) -> int:
    compiled = compile_graph(graph, load_target("cortex-m4"), objective=objective)
    return sum(array.nbytes for array in compiled.module.constants.values())
