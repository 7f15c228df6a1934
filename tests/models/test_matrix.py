"""Every executor over every transport gives the reference's outputs, bit for bit.

In: the MLPerf Tiny networks and the CIFAR-10 CNN of ../shared/models, the digits of the examples.
Rows are {aot, graph, graph on the host}, columns the transports; the slow ones, through a virtual
JTAG chain and a virtual probe, run the digits, and mlperf_kws ahead of time (mlperf_ad01 is larger
than the chip's RAM). One golden row each.
A network is compiled once per processor; its kernels become an object file once per processor, too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tty
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import REPOSITORY, SHARED
from tests.probe.pyocd_server import PyOcdServer
from tests.probe.remote_bitbang import RemoteBitbang
from tests.probe.virtual_chip import virtual_chip
from utvm.device.toolchain import Toolchain
from utvm.driver.build import Build, build_compiled
from utvm.driver.load import Model, import_model, load_model
from utvm.driver.options import SESSION_EXECUTORS, resolve_options
from utvm.driver.pipeline import Compiled, compile_graph, with_executor
from utvm.driver.run import run_build
from utvm.driver.transports import parse_transport
from utvm.support.errors import ToolchainError
from utvm.target.board import Debug, load_board
from utvm.target.target import Target, load_target

MODELS = SHARED / "models"
DIGITS = REPOSITORY / "examples" / "digits"
CIFAR = REPOSITORY / "examples" / "cifar10_cnn" / "cifar10_cnn.graph"
NETWORKS = {
    "ad01": (MODELS / "mlperf_ad01_int8" / "model.tflite", MODELS / "mlperf_ad01_int8"),
    "kws": (MODELS / "mlperf_kws_int8" / "model.tflite", MODELS / "mlperf_kws_int8"),
    "resnet8": (MODELS / "mlperf_resnet8_int8" / "model.tflite", MODELS / "mlperf_resnet8_int8"),
    "sww": (MODELS / "mlperf_sww_int8" / "model.tflite", MODELS / "mlperf_sww_int8"),
    "cifar10": (CIFAR, MODELS / "seed_cifar10_cnn"),
    "digits": (DIGITS / "digits.tflite", DIGITS),
}
REAL = "nucleo_f746zg"
FAST = (
    ("emu_cortex_m4", "memory"),
    ("emu_cortex_m4", "uart"),
    ("mps2_an385", "uart"),
    ("mps2_an386", "uart"),
    ("mps2_an500", "uart"),
    ("mps2_an521", "uart"),
    ("mps2_an386", "gdb"),
    ("host", "process"),
)


@dataclass(frozen=True)
class CachedToolchain:
    """A toolchain that compiles a network's kernels and constants once; all else every time."""

    inner: Toolchain
    folder: Path

    @property
    def name(self) -> str:
        return self.inner.name

    def version(self) -> str:
        return self.inner.version()

    def environment(self, scratch: Path) -> Mapping[str, str]:
        return self.inner.environment(scratch)

    def compile_command(
        self, target: Target, source: Path, out: str, include_dirs: Sequence[Path], optimize: str
    ) -> list[str]:
        command = self.inner.compile_command(target, source, out, include_dirs, optimize)
        if not source.name.endswith(("_kernels.c", "_params.c")):
            return command
        header = source.with_name(source.name.replace("_params.c", "_kernels.c")).with_suffix(".h")
        text = source.read_bytes() + header.read_bytes() + f"{target.name} {optimize}".encode()
        kept = self.folder / f"{hashlib.sha256(text).hexdigest()}.o"
        if kept.exists():
            return [sys.executable, "-c", _COPY, str(kept), out]
        return [sys.executable, "-c", _COMPILE, str(kept), out, *command]

    def link_command(
        self,
        target: Target,
        objects: Sequence[str],
        script: Path | None,
        out: str,
        map_file: str,
    ) -> list[str]:
        return self.inner.link_command(target, objects, script, out, map_file)


_COPY = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])"
_COMPILE = """
import shutil, subprocess, sys
done = subprocess.run(sys.argv[3:])
if done.returncode == 0:
    shutil.copy(sys.argv[2], sys.argv[1])
sys.exit(done.returncode)
"""


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


@cache
def compiled(network: str, target: str) -> tuple[Model, Compiled]:
    path, folder = NETWORKS[network]
    if not path.exists() or not folder.exists():
        pytest.skip("needs the real networks in ../shared/models")
    model = load_model(path, folder / "params.npz" if path.suffix == ".graph" else None)
    return model, compile_graph(import_model(model), load_target(target))


def build(
    network: str, board: str, executor: str, transport: str, folder: Path, objects: Path
) -> Build:
    target = load_board(board).target
    try:
        options = resolve_options(board=board, executor=executor, transport=transport)
    except ToolchainError as error:
        pytest.skip(str(error))
    model, kernels = compiled(network, target)
    options = replace(options, toolchain=CachedToolchain(options.toolchain, objects))
    return build_compiled(model, with_executor(kernels, executor), options, folder)


def check(network: str, program: Build) -> None:
    """One golden row, in and out."""
    name = "digits_test.npz" if network == "digits" else "golden.npz"
    with np.load(NETWORKS[network][1] / name) as golden:
        inputs = tuple(golden[f"in{k}"][:1] for k in range(len(program.inputs)))
        run = run_build(program, inputs)
        for k, output in enumerate(run.outputs):
            np.testing.assert_array_equal(output, golden[f"out{k}"][:1])
    counted = program.options.board.run in ("emulator", "probe")
    assert (run.cycles is not None and run.cycles > 0) == counted
    listed = counted and program.options.executor == "host"
    assert all((operator.cycles is not None) == listed for operator in run.operators)


def needs(board: str, transport: str) -> None:
    if load_board(board).run == "qemu" and shutil.which("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")
    if transport == "openocd" and shutil.which("openocd") is None:
        pytest.skip("openocd is not installed")


@pytest.mark.slow
@pytest.mark.parametrize("executor", SESSION_EXECUTORS)
@pytest.mark.parametrize(("board", "transport"), FAST)
@pytest.mark.parametrize("network", [name for name in NETWORKS if name != "digits"])
def test_every_pair(
    network: str, board: str, transport: str, executor: str, tmp_path: Path, objects: Path
) -> None:
    needs(board, transport)
    check(network, build(network, board, executor, transport, tmp_path, objects))


@pytest.mark.parametrize("executor", SESSION_EXECUTORS)
@pytest.mark.parametrize(("board", "transport"), [FAST[0], FAST[3], FAST[6], FAST[7]])
def test_digits(board: str, transport: str, executor: str, tmp_path: Path, objects: Path) -> None:
    """The quick part of the matrix: also without ../shared."""
    needs(board, transport)
    check("digits", build("digits", board, executor, transport, tmp_path, objects))


@pytest.fixture
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteBitbang]:
    """An emulated STM32F746 behind a JTAG scan chain that OpenOCD clocks bit by bit."""
    with RemoteBitbang(virtual_chip(jtag=True), tmp_path_factory.mktemp("chain")) as server:
        yield server


@pytest.fixture
def probe() -> Iterator[PyOcdServer]:
    """The same chip behind a probe that pyOCD knows."""
    server = PyOcdServer(virtual_chip())
    yield server
    server.close()


SLOW = [("digits", executor) for executor in SESSION_EXECUTORS] + [
    pytest.param("kws", "aot", marks=pytest.mark.slow)
]


@pytest.mark.parametrize(("network", "executor"), SLOW)
def test_openocd(
    network: str, executor: str, chain: RemoteBitbang, tmp_path: Path, objects: Path
) -> None:
    needs(REAL, "openocd")
    program = build(network, REAL, executor, "openocd", tmp_path, objects)
    arguments = (*chain.openocd, "-f", "target/stm32f7x.cfg")
    check(network, over(program, "openocd", Debug(openocd=arguments)))


@pytest.mark.parametrize(("network", "executor"), SLOW)
def test_pyocd(
    network: str, executor: str, probe: PyOcdServer, tmp_path: Path, objects: Path
) -> None:
    program = build(network, REAL, executor, "pyocd", tmp_path, objects)
    check(network, over(program, f"pyocd:{probe.probe}", Debug(pyocd="cortex_m")))


@pytest.mark.parametrize("executor", SESSION_EXECUTORS)
def test_serial_port(executor: str, tmp_path: Path, objects: Path) -> None:
    """A pseudo-terminal with a native server on its other side."""
    program = build("digits", "host", executor, "process", tmp_path, objects)
    assert program.program is not None
    uart, port = os.openpty()
    tty.setraw(port)
    name = os.ttyname(port)
    # ``port`` stays open: a server that reads while nobody holds the other side finds an end.
    with subprocess.Popen([program.program], stdin=uart, stdout=uart) as server:
        try:
            check("digits", over(program, f"serial:{name}"))
        finally:
            server.kill()
            os.close(uart)
            os.close(port)


def over(program: Build, transport: str, debug: Debug | None = None) -> Build:
    """The program, reached in another way."""
    board = program.options.board
    board = board if debug is None else replace(board, debug=debug)
    way = parse_transport(transport)
    return replace(program, options=replace(program.options, board=board, transport=way))
