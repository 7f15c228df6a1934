"""Measures one network on one target with one toolchain: cost, memory, whether it is exact.

In: a ``Network`` and names of target and toolchain. Out: a ``Measurement``, or a ``Refusal`` with
the reason. Instructions and cycles are those of the emulated core and the same on every machine;
only ``cpu_seconds`` (from the model's bytes to the linked program) depends on this one.
"""

from __future__ import annotations

import resource
import tempfile
from dataclasses import dataclass
from pathlib import Path

from utvm.driver.build import Build, build_graph
from utvm.driver.load import import_model, load_model
from utvm.driver.memory import Memory
from utvm.driver.options import resolve_options
from utvm.driver.run import run_build
from utvm.driver.tensors import Rows, compare, random_inputs, read_expected, read_inputs
from utvm.support.errors import UtvmError

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
SHARED_MODELS = ROOT.parent / "shared" / "models"
MOST_ROWS = 4
"""Rows of test data that are run: cost hardly depends on data, and the tests compare every row."""


@dataclass(frozen=True)
class Network:
    """A model with its inputs and expected outputs, where there are any, in ``data``."""

    name: str
    model: Path
    data: Path | None = None
    params: Path | None = None


@dataclass(frozen=True)
class Measurement:
    """Figures per invocation; ``exact`` is None where nothing is known to compare with."""

    network: str
    target: str
    toolchain: str
    compiler: str
    macs: int
    instructions: int
    cycles: int
    memory: Memory
    stack_bytes: int
    exact: bool | None
    cpu_seconds: float


@dataclass(frozen=True)
class Refusal:
    """Why a network was not measured."""

    network: str
    target: str
    toolchain: str
    reason: str


def find_networks() -> list[Network]:
    """The examples, and the real networks beside the repository where they are there."""
    digits = EXAMPLES / "digits"
    found = [Network("digits", digits / "digits.tflite", digits / "digits_test.npz")]
    cifar, seed = EXAMPLES / "cifar10_cnn" / "cifar10_cnn.graph", SHARED_MODELS / "seed_cifar10_cnn"
    if cifar.is_file() and seed.is_dir():
        found.append(Network("cifar10_cnn", cifar, seed / "golden.npz", seed / "params.npz"))
    for model in sorted(SHARED_MODELS.glob("*/model.tflite")):
        data = model.with_name("golden.npz")
        found.append(Network(model.parent.name, model, data if data.is_file() else None))
    return found


def measure(network: Network, target: str, toolchain: str) -> Measurement | Refusal:
    """One line of the benchmark."""
    try:
        options = resolve_options(target, toolchain=toolchain)
        model = load_model(network.model, network.params, network.name)
        with tempfile.TemporaryDirectory(prefix="utvm-") as folder:
            before = _cpu_seconds()
            build = build_graph(model, import_model(model), options, Path(folder))
            seconds = _cpu_seconds() - before
            return _run(network, build, seconds)
    except UtvmError as error:
        return Refusal(network.name, target, toolchain, str(error))


def _run(network: Network, build: Build, seconds: float) -> Measurement:
    if network.data is None:
        run, exact = run_build(build, random_inputs(build.inputs)), None
    else:
        inputs = read_inputs(network.data, build.inputs)
        expected = read_expected(network.data, build.outputs, len(inputs[0]))
        run = run_build(build, first_rows(inputs))
        exact = compare(run.outputs, first_rows(expected)).matches
    assert run.instructions is not None and run.cycles is not None and build.memory is not None
    return Measurement(
        network=network.name,
        target=build.options.target.name,
        toolchain=build.options.toolchain.name,
        compiler=build.options.toolchain.version(),
        macs=build.macs,
        instructions=run.instructions,
        cycles=run.cycles,
        memory=build.memory,
        stack_bytes=run.stack_bytes or 0,
        exact=exact,
        cpu_seconds=seconds,
    )


def first_rows(arrays: Rows) -> Rows:
    """The rows of test data that are used."""
    return tuple(array[:MOST_ROWS] for array in arrays)


def _cpu_seconds() -> float:
    """CPU time of this process and of the compilers it has started and waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
