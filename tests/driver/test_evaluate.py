"""evaluate: a graph computed by its operators' references, and the mistakes it names."""

from __future__ import annotations

import numpy as np
import pytest

from utvm.driver.evaluate import evaluate
from utvm.ir.parse_graph import parse_graph
from utvm.op.registry import find_op
from utvm.support.errors import InputError, UnsupportedError

GRAPH = parse_graph(
    """graph net(%x: int8[2]) -> (%y, %x) {
      const %three: int8[1] = [3]
      %z = add(%x, %three)
      %y = clip(%z) {low=0.0, high=6.0}
    }""",
    find_op,
)
X = np.array([-10, 1], np.int8)


def test_outputs_by_name() -> None:
    outputs = evaluate(GRAPH, {"x": X}, find_op)
    assert {name: data.tolist() for name, data in outputs.items()} == {"y": [0, 4], "x": [-10, 1]}
    assert outputs["y"].dtype == np.int8


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"z": X}, "an input is missing; expected x; found z"),
        ({"x": X[:1]}, "input x is of another type; expected int8[2]; found int8[1]"),
        (
            {"x": X.astype(np.int32)},
            "input x is of another type; expected int8[2]; found int32[2]",
        ),
    ],
)
def test_wrong_inputs(inputs: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError) as caught:
        evaluate(GRAPH, inputs, find_op)
    assert str(caught.value) == message


def test_quantized_graphs_are_refused() -> None:
    q = "q(scale=0.5, zero_point=0)"
    text = f"graph net(%x: int8[2] {q}) -> (%y) {{ %y: int8[2] {q} = add(%x, %x) }}"
    with pytest.raises(UnsupportedError) as caught:
        evaluate(parse_graph(text, find_op), {"x": X}, find_op)
    assert str(caught.value) == (
        "y: only plain operators are evaluated; found add; hint: legalize the graph first"
    )
