"""Every stage of the compiler leaves IR that its verifier accepts and that survives its text form.

In: one network per operator and element type, the digits network, the CIFAR-10 network and the real
networks of ../shared. All go through ``compile_graph`` with an observer on every stage. Passes on
plain graphs must not change what the references of the operators compute, either.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.tflite_cases import CASES, QUANTIZABLE, Case, float_model, quantized_model
from utvm.driver.evaluate import evaluate
from utvm.driver.pipeline import compile_graph
from utvm.importers.tflite import import_tflite
from utvm.ir.graph import Graph
from utvm.ir.loop import Module
from utvm.ir.parse_graph import parse_graph
from utvm.ir.parse_loop import parse_module
from utvm.ir.print_graph import print_graph
from utvm.ir.print_loop import print_module
from utvm.ir.verify_graph import verify_graph
from utvm.ir.verify_loop import verify_module
from utvm.op.registry import find_op
from utvm.support.errors import UnsupportedError
from utvm.target.target import load_target

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = REPOSITORY / ".." / "shared" / "models"
# Others have the same operators and take half a minute each.
LONG = frozenset(
    {
        "mcunet_vww",
        "mltk_kws_pacman",
        "nxp_yolo_face",
        "tflm_person_detect",
        "tinymaix_mbnet128_q",
    }
)
FOUND = {path.parent.name for path in SHARED.glob("*/model.tflite")}
NETWORKS = sorted(FOUND - LONG)
QUICK = ("tflm_hello_world_int8", "tflm_simple_add", "tflm_micro_speech_int8")
BEFORE_LEGALIZE = ("import", "fold-shapes")


class Verifier:
    """An observer that verifies what each stage leaves; ``plain`` keeps the plain graphs."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.plain: list[Graph] = []

    def __call__(self, stage: str, ir: Graph | Module) -> None:
        self.stages.append(stage)
        if isinstance(ir, Module):
            check_module(stage, ir)
            return
        plain = stage not in BEFORE_LEGALIZE
        verify_graph(ir, find_op, after=stage, plain=plain)
        text = print_graph(ir)
        again = parse_graph(text, find_op, ir.constants)
        assert print_graph(again) == text, stage
        assert dict(again.values) == dict(ir.values), stage
        if plain:
            self.plain.append(again)


def check_module(stage: str, module: Module) -> None:
    verify_module(module, after=stage)
    text = print_module(module)
    again = parse_module(text, module.constants)
    assert again.functions == module.functions, stage
    assert again.calls == module.calls, stage
    assert dict(again.tensors) == dict(module.tensors), stage
    assert dict(again.aliases) == dict(module.aliases), stage
    assert print_module(again) == text, stage


def compile_verified(graph: Graph, target: str) -> Verifier:
    """Compiles a graph and checks that the verifier saw every stage."""
    verifier = Verifier()
    compile_graph(graph, load_target(target), verifier, portable_c=True)  # assembly is no stage
    assert verifier.stages[:3] == ["import", "fold-shapes", "legalize"]
    assert verifier.stages[-1] == "hoist-addresses"
    return verifier


def check_references(graphs: list[Graph]) -> None:
    """All stages of one plain graph compute the same, whatever their outputs are called."""
    first = graphs[0]
    generator = np.random.default_rng(3)
    inputs = {}
    for name in first.inputs:
        value = first.values[name]
        if value.dtype.is_float:
            inputs[name] = generator.uniform(0.5, 2, value.shape).astype(np.float32)
        else:
            low, high = max(value.dtype.minimum, -128), min(value.dtype.maximum, 127)
            inputs[name] = generator.integers(low, high + 1, value.shape).astype(value.dtype.numpy)
    expected = list(evaluate(first, inputs, find_op).values())
    for graph in graphs[1:]:
        found = list(evaluate(graph, inputs, find_op).values())
        for a, b in zip(expected, found, strict=True):
            np.testing.assert_array_equal(a, b)


def imported(model: bytes, name: str) -> Graph:
    try:
        return import_tflite(model, name=name, find_op=find_op)
    except UnsupportedError as error:
        pytest.skip(f"not supported: {error.what}")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_float_operators(case: Case) -> None:
    model, _ = float_model(case)
    check_references(compile_verified(imported(model, "case"), "cortex-m4").plain)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("case", QUANTIZABLE, ids=lambda case: case.name)
def test_quantized_operators(case: Case, dtype: str) -> None:
    model = quantized_model(case, dtype).model
    check_references(compile_verified(imported(model, "case"), "cortex-m7").plain)


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m4", "host"])
def test_the_digits_network(target: str) -> None:
    model = (REPOSITORY / "examples" / "digits" / "digits.tflite").read_bytes()
    check_references(compile_verified(imported(model, "digits"), target).plain)


@pytest.mark.parametrize(
    "network",
    [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in NETWORKS],
)
def test_real_networks(network: str) -> None:
    model = (SHARED / network / "model.tflite").read_bytes()
    compile_verified(imported(model, network), "cortex-m4")


def test_the_cifar10_network(shared_models: Path) -> None:
    text = (REPOSITORY / "examples" / "cifar10_cnn" / "cifar10_cnn.graph").read_text("utf-8")
    with np.load(shared_models / "seed_cifar10_cnn" / "params.npz") as arrays:
        graph = parse_graph(text, find_op, dict(arrays))
    compile_verified(graph, "cortex-m7")
