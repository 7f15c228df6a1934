"""The int8 convolutions of the CIFAR-10 network alone, with random weights.

In: nothing, or options that choose targets and objectives. Out: their lines of
docs/benchmarks/results.json, the page and the plots. Each layer is a graph of its own: 5x5 taps
over two pixels of padding, a bias, a rounding shift to int8, as CMSIS-NN's q7 kernels do it. What
is expected of the outputs comes from the operators' NumPy references.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.measure import Case, Network, has_records  # noqa: E402
from benchmarks.run import OBJECTIVES, measure_all, write_page  # noqa: E402
from utvm.driver.evaluate import evaluate  # noqa: E402
from utvm.ir.parse_graph import parse_graph  # noqa: E402
from utvm.op.registry import find_op  # noqa: E402

LAYERS = {"conv1": (32, 3, 32), "conv2": (16, 32, 32), "conv3": (8, 32, 64)}
"""Height and width, input channels, output channels."""
TARGETS = ("cortex-m4", "cortex-m7")
TAPS = 5
SHIFT = 9

GRAPH = """graph {name}(%x: int8[1,{size},{size},{inputs}]) -> (%y) {{
  const %weight: int8[{outputs},{taps},{taps},{inputs}]
  const %bias: int32[{outputs}]
  const %half: int32[1] = [{half}]
  const %bits: int32[1] = [{shift}]
  %sum = conv2d(%x, %weight, %bias) {{padding=[2, 2, 2, 2]}}
  %rounded = add(%sum, %half)
  %shifted = shift_right(%rounded, %bits)
  %y = cast(%shifted) {{dtype="int8", saturate=true}}
}}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--targets", nargs="+", default=TARGETS)
    parser.add_argument("--objectives", nargs="+", default=OBJECTIVES, choices=OBJECTIVES)
    parser.add_argument("--jobs", type=int, default=2, help="at a time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="utvm-") as folder:
        networks = [write_layer(layer, Path(folder)) for layer in LAYERS]
        cases = [
            Case(network, target, "zig", objective, tuned)
            for network in networks
            for target in options.targets
            for objective in options.objectives
            for tuned in ((False, True) if has_records(target) else (False,))
        ]
        measure_all(cases, options.jobs)
    write_page()
    return 0


def graph_text(layer: str) -> str:
    """The layer in the text form of graphs."""
    size, inputs, outputs = LAYERS[layer]
    return GRAPH.format(
        name=f"conv2d_{layer}",
        size=size,
        inputs=inputs,
        outputs=outputs,
        taps=TAPS,
        half=1 << (SHIFT - 1),
        shift=SHIFT,
    )


def write_layer(layer: str, folder: Path) -> Network:
    """The layer as files: text, random constants, one random input and what is expected of it."""
    size, inputs, outputs = LAYERS[layer]
    random = np.random.default_rng(sum(LAYERS[layer]))
    params = {
        "weight": random.integers(-40, 41, (outputs, TAPS, TAPS, inputs), np.int8),
        "bias": random.integers(-4096, 4096, outputs, np.int32),
    }
    data = random.integers(-128, 128, (1, size, size, inputs), np.int8)
    graph = parse_graph(graph_text(layer), find_op, params, file=layer)
    expected = evaluate(graph, {"x": data}, find_op)["y"]
    network = Network(
        f"conv2d_{layer}",
        folder / f"{layer}.graph",
        folder / f"{layer}_data.npz",
        folder / f"{layer}_params.npz",
    )
    assert network.data is not None and network.params is not None
    network.model.write_text(graph_text(layer), encoding="utf-8")
    np.savez(network.params, weight=params["weight"], bias=params["bias"])
    np.savez(network.data, in0=data[np.newaxis], out0=expected[np.newaxis])
    return network


if __name__ == "__main__":
    sys.exit(main())
