"""Damaged models through the whole compiler: C comes out, or one UtvmError, soon and in little
memory.

Models of every operator, before and after legalization, random networks and the CIFAR-10 network
are damaged as texts and as bytes, then imported and compiled for two targets up to the C text.
Warnings are errors. The cases are the same in every run; for a longer one, raise ``CASES_PER_TEST``
or move ``FIRST_SEED``.
"""

from __future__ import annotations

import re
import resource
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import pytest

from tests.mutations import Params, mutated_bytes, mutated_graph
from tests.random_networks import random_network
from tests.tflite_cases import CASES, QUANTIZABLE, float_model, quantized_model
from utvm.driver.pipeline import compile_graph
from utvm.importers.tflite import import_tflite
from utvm.ir.graph import Graph
from utvm.ir.parse_graph import parse_graph
from utvm.ir.print_graph import print_graph
from utvm.op.registry import find_op
from utvm.passes.legalize import legalize
from utvm.support.errors import UtvmError
from utvm.target.target import load_target

FIRST_SEED, CASES_PER_TEST = 0, 60
TARGETS = [load_target(name) for name in ("host", "cortex-m4")]
CIFAR10 = Path(__file__).parents[2] / "examples" / "cifar10_cnn" / "cifar10_cnn.graph"

# Processor time, so that other programs do not count; a case takes some hundredths of it.
LIMIT_SECONDS = 60
LIMIT_BYTES = 2**30
# The models are small; their C is, too, unless something is unrolled without end.
LIMIT_CHARACTERS = 2**24


@cache
def models() -> tuple[bytes, ...]:
    """Every operator in floats and in one or two quantized types, and random networks."""
    found = [float_model(case)[0] for case in CASES]
    found += [quantized_model(case, "int8").model for case in QUANTIZABLE]
    found += [quantized_model(case, "uint8").model for case in QUANTIZABLE[::3]]
    found += [quantized_model(case, "int16").model for case in QUANTIZABLE[::2]]
    kinds = ("int8", "uint8", "int16", "float32")
    return (*found, *(random_network(seed, kind)[0] for kind in kinds for seed in range(2)))


@cache
def texts() -> tuple[tuple[str, Params], ...]:
    """The models as graphs, imported and legalized, and a network written by hand."""
    found: list[tuple[str, Params]] = []
    for model in models():
        try:
            graph = import_tflite(model, name="net", find_op=find_op)
        except UtvmError:
            continue
        for version in (graph, legalize(graph, find_op)):
            found.append((print_graph(version), dict(version.constants)))
    return (*found, *[by_hand()] * 8)


def by_hand() -> tuple[str, Params]:
    """The CIFAR-10 network with random weights."""
    text = CIFAR10.read_text("utf-8")
    random = np.random.default_rng(1)
    params = {}
    for name, dtype, shape in re.findall(r"const %(\w+): (\w+)\[([\d,]+)\]\n", text):
        extents = tuple(map(int, shape.split(",")))
        params[name] = random.integers(-100, 100, extents).astype(dtype)
    return text, params


class OutOfTime(BaseException):
    """Not an Exception, so that nothing on the way catches it."""


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    """Stops a test that runs far too long, and looks at the memory that it took."""

    def stop(number: int, frame: object) -> None:
        raise OutOfTime

    before_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    old = signal.signal(signal.SIGVTALRM, stop)
    yield
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    signal.signal(signal.SIGVTALRM, old)
    after_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert after_bytes - before_bytes < LIMIT_BYTES


def survives(load: Callable[[], Graph]) -> bool:
    """Whether a model compiles; anything but a UtvmError of one line fails the test."""
    signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_SECONDS)
    try:
        graph = load()
        for target in TARGETS:
            sources = compile_graph(graph, target).sources
            assert sum(map(len, sources.values())) < LIMIT_CHARACTERS
    except UtvmError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 2000
        return False
    return True


def test_the_models_compile_undamaged() -> None:
    """Else damage would only ever meet the first error."""
    sample = texts()[::7]
    assert all(survives(lambda t=t, p=p: parse_graph(t, find_op, p)) for t, p in sample)


@pytest.mark.parametrize("batch", range(5))
def test_damaged_texts(batch: int) -> None:
    survivors = 0
    for case in range(CASES_PER_TEST):
        random = Random(FIRST_SEED + batch * CASES_PER_TEST + case)
        text, params = mutated_graph(random, *random.choice(texts()))
        survivors += survives(lambda t=text, p=params: parse_graph(t, find_op, p))
    assert survivors > CASES_PER_TEST // 10, "most damage stops at the door"


@pytest.mark.parametrize("batch", range(5))
def test_damaged_bytes(batch: int) -> None:
    survivors = 0
    for case in range(2 * CASES_PER_TEST):
        random = Random(FIRST_SEED + batch * 2 * CASES_PER_TEST + case)
        data = mutated_bytes(random, random.choice(models()))
        survivors += survives(lambda d=data: import_tflite(d, name="net", find_op=find_op))
    assert survivors
