"""Measures one network in one configuration: cost, memory, whether it is exact.

In: a ``Case``, which is a network and names of target, toolchain and objective, with or without
the tuning records that come with utvm. Out: a ``Measurement``, or a ``Refusal`` with the reason.
Instructions and cycles are those of the emulated core and the same on every machine; only
``cpu_seconds`` (from the model's bytes to the linked program) depends on this one.
"""

from __future__ import annotations

import resource
import tempfile
from dataclasses import dataclass
from pathlib import Path

from utvm.driver.build import Build, build_graph
from utvm.driver.load import import_model, load_model
from utvm.driver.options import SHIPPED_RECORDS, UNTUNED, resolve_options, with_schedules
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


@dataclass(frozen=True, order=True)
class Key:
    """What a figure is of; ``tuned``: with the records that come with utvm."""

    network: str
    target: str
    toolchain: str = "zig"
    objective: str = "balanced"
    tuned: bool = False


@dataclass(frozen=True)
class Case:
    """One measurement to make."""

    network: Network
    target: str
    toolchain: str = "zig"
    objective: str = "balanced"
    tuned: bool = False

    @property
    def key(self) -> Key:
        return Key(self.network.name, self.target, self.toolchain, self.objective, self.tuned)


@dataclass(frozen=True)
class Flash:
    """Bytes that are stored."""

    code: int
    constants: int


@dataclass(frozen=True)
class Ram:
    """Bytes that are reserved; ``static`` is all else but the stack."""

    arena: int
    io: int
    static: int


@dataclass(frozen=True)
class Layer:
    """One kernel."""

    name: str
    op: str
    macs: int
    cycles: int


@dataclass(frozen=True)
class Measurement:
    """Figures per invocation; ``exact`` is None where nothing is known to compare with.

    ``macs`` are those that kernels do: channels that are constant cost none. ``parameter_bytes``
    are the model's own constants.
    """

    key: Key
    compiler: str
    macs: int
    parameter_bytes: int
    instructions: int
    cycles: int
    flash: Flash
    ram: Ram
    stack_bytes: int
    exact: bool | None
    cpu_seconds: float
    layers: tuple[Layer, ...] = ()


@dataclass(frozen=True)
class Refusal:
    """Why a network was not measured."""

    key: Key
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


def has_records(target: str) -> bool:
    """Whether tuning records for the target come with utvm."""
    return (SHIPPED_RECORDS / f"{target}.jsonl").is_file()


def measure(network: Network, target: str, toolchain: str) -> Measurement | Refusal:
    """An untuned network with the default objective."""
    return measure_case(Case(network, target, toolchain))


def measure_case(case: Case) -> Measurement | Refusal:
    """One line of the benchmark."""
    network = case.network
    try:
        options = resolve_options(case.target, toolchain=case.toolchain)
        records = () if case.tuned else (UNTUNED,)
        options = with_schedules(options, case.objective, False, records)
        model = load_model(network.model, network.params, network.name)
        with tempfile.TemporaryDirectory(prefix="utvm-") as folder:
            before = _cpu_seconds()
            graph = import_model(model)
            build = build_graph(model, graph, options, Path(folder))
            seconds = _cpu_seconds() - before
            parameter_bytes = sum(int(data.nbytes) for data in graph.constants.values())
            return _run(case, build, parameter_bytes, seconds)
    except UtvmError as error:
        return Refusal(case.key, str(error))


def _run(case: Case, build: Build, parameter_bytes: int, seconds: float) -> Measurement:
    if case.network.data is None:
        run, exact = run_build(build, random_inputs(build.inputs)), None
    else:
        inputs = read_inputs(case.network.data, build.inputs)
        expected = read_expected(case.network.data, build.outputs, len(inputs[0]))
        run = run_build(build, first_rows(inputs))
        exact = compare(run.outputs, first_rows(expected)).matches
    assert run.instructions is not None and run.cycles is not None and build.memory is not None
    flash, ram = build.memory.flash, build.memory.ram
    return Measurement(
        key=case.key,
        compiler=build.options.toolchain.version(),
        macs=build.macs,
        parameter_bytes=parameter_bytes,
        instructions=run.instructions,
        cycles=run.cycles,
        flash=Flash(flash.code, flash.constants),
        ram=Ram(ram.arena, ram.io, ram.static),
        stack_bytes=run.stack_bytes or 0,
        exact=exact,
        cpu_seconds=round(seconds, 1),
        layers=tuple(Layer(o.name, o.op, o.macs, o.cycles or 0) for o in run.operators),
    )


def first_rows(arrays: Rows) -> Rows:
    """The rows of test data that are used."""
    return tuple(array[:MOST_ROWS] for array in arrays)


def _cpu_seconds() -> float:
    """CPU time of this process and of the compilers it has started and waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
