"""The CIFAR-10 network written by hand equals CMSIS-NN's kernels in every bit, on every target.

In: examples/cifar10_cnn, and from ../shared its trained weights and what the C kernels answer.
Without these the network still runs, with random weights, against the operators' references.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.compiled import run_graph
from utvm.driver.build import build_model
from utvm.driver.evaluate import evaluate
from utvm.driver.load import load_model
from utvm.driver.options import resolve_options
from utvm.driver.run import run_build
from utvm.ir.graph import Graph
from utvm.ir.parse_graph import parse_graph
from utvm.ir.print_graph import print_graph
from utvm.op.registry import find_op

Array = npt.NDArray[Any]
FOLDER = Path(__file__).resolve().parents[2] / "examples" / "cifar10_cnn"
MODEL = FOLDER / "cifar10_cnn.graph"
LABELLED = slice(1, 11)
SHARED_NAME = "seed_cifar10_cnn"


def load(path: Path) -> dict[str, Array]:
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def golden(shared_models: Path) -> dict[str, Array]:
    return load(shared_models / SHARED_NAME / "golden.npz")


@pytest.fixture(scope="module")
def params(shared_models: Path) -> dict[str, Array]:
    return load(shared_models / SHARED_NAME / "params.npz")


def read_text(constants: dict[str, Array]) -> Graph:
    return parse_graph(MODEL.read_text(encoding="utf-8"), find_op, constants, file=MODEL.name)


def random_params() -> dict[str, Array]:
    """Constants of the declared types, small enough that not everything saturates."""
    generator = np.random.default_rng(5)
    declared = re.findall(
        r"const %(\w+): (u?int8)\[([0-9,]+)\]$", MODEL.read_text(encoding="utf-8"), re.MULTILINE
    )
    return {
        name: generator.integers(
            *((0, 256) if dtype == "uint8" else (-30, 31)),
            [int(n) for n in shape.split(",")],
            dtype=dtype,
        )
        for name, dtype, shape in declared
    }


@pytest.fixture(scope="module")
def build_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cifar10_build", FOLDER / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_compiled_equals_references_with_random_weights() -> None:
    graph = read_text(random_params())
    image = np.random.default_rng(6).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    expected = evaluate(graph, {"data": image}, find_op)["label"]
    assert len(np.unique(expected)) > 3
    (result,) = run_graph(graph, [image])
    np.testing.assert_array_equal(result, expected)


def test_the_builder_gives_the_same_text(build_script: ModuleType) -> None:
    constants = random_params()
    assert print_graph(build_script.build(constants)) == print_graph(read_text(constants))


def test_references_equal_the_c_kernels(params: dict[str, Array], golden: dict[str, Array]) -> None:
    graph = read_text(params)
    for image, expected in zip(golden["in0"][LABELLED], golden["out0"][LABELLED], strict=True):
        np.testing.assert_array_equal(evaluate(graph, {"data": image}, find_op)["label"], expected)


def test_the_readmes_example_is_a_network() -> None:
    blocks = re.findall(r"(?:^    .*\n)+", (FOLDER / "README.md").read_text("utf-8"), re.MULTILINE)
    (text,) = (block for block in blocks if "graph net" in block)
    graph = parse_graph(text, find_op, {"weight": np.ones((4, 8), np.int8)})
    assert [node.op for node in graph.nodes] == ["dense", "clip"]


@pytest.mark.parametrize(
    "target",
    [
        "host",
        pytest.param("cortex-m4", marks=pytest.mark.slow),
        pytest.param("cortex-m7", marks=pytest.mark.slow),
    ],
)
def test_all_images_equal_the_c_kernels(
    target: str, shared_models: Path, golden: dict[str, Array], tmp_path: Path
) -> None:
    model = load_model(MODEL, shared_models / SHARED_NAME / "params.npz")
    build = build_model(model, resolve_options(target), tmp_path)
    rows = golden["in0"].shape[0]
    assert rows == 26
    (outputs,) = run_build(build, [golden["in0"]]).outputs
    np.testing.assert_array_equal(outputs, golden["out0"])
    labels = outputs.reshape(rows, 10).argmax(axis=1)
    np.testing.assert_array_equal(labels[LABELLED], golden["labels"][LABELLED])
