"""Every executor over every transport gives the reference's outputs, bit for bit.

In: the MLPerf Tiny networks and the CIFAR-10 CNN of ../shared/models, the digits of the examples.
Rows are {aot, graph, graph on the host}, columns the transports; the slow ones, through a virtual
JTAG chain and a virtual probe, run the digits, and mlperf_kws ahead of time (mlperf_ad01 is larger
than the chip's RAM). One golden row each.
A network is compiled once per processor, and so are its kernels.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tty
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import REPOSITORY, SHARED
from tests.kept import Kept
from tests.probe.pyocd_server import PyOcdServer
from tests.probe.remote_bitbang import RemoteBitbang
from tests.probe.virtual_chip import virtual_chip
from utvm.driver.build import Build
from utvm.driver.load import Model, load_model
from utvm.driver.options import SESSION_EXECUTORS, resolve_options
from utvm.driver.run import run_build
from utvm.driver.transports import parse_transport
from utvm.support.errors import ToolchainError
from utvm.target.board import Debug, load_board

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


def model_of(network: str) -> Model:
    path, folder = NETWORKS[network]
    if not path.exists() or not folder.exists():
        pytest.skip("needs the real networks in ../shared/models")
    return load_model(path, folder / "params.npz" if path.suffix == ".graph" else None)


def build(
    network: str, board: str, executor: str, transport: str, folder: Path, kept: Kept
) -> Build:
    try:
        options = resolve_options(board=board, executor=executor, transport=transport)
    except ToolchainError as error:
        pytest.skip(str(error))
    return kept.build(model_of(network), options, folder)


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
    network: str, board: str, transport: str, executor: str, tmp_path: Path, kept: Kept
) -> None:
    needs(board, transport)
    check(network, build(network, board, executor, transport, tmp_path, kept))


@pytest.mark.parametrize("executor", SESSION_EXECUTORS)
@pytest.mark.parametrize(("board", "transport"), [FAST[0], FAST[3], FAST[6], FAST[7]])
def test_digits(board: str, transport: str, executor: str, tmp_path: Path, kept: Kept) -> None:
    """The quick part of the matrix: also without ../shared."""
    needs(board, transport)
    check("digits", build("digits", board, executor, transport, tmp_path, kept))


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
    network: str, executor: str, chain: RemoteBitbang, tmp_path: Path, kept: Kept
) -> None:
    needs(REAL, "openocd")
    program = build(network, REAL, executor, "openocd", tmp_path, kept)
    arguments = (*chain.openocd, "-f", "target/stm32f7x.cfg")
    check(network, over(program, "openocd", Debug(openocd=arguments)))


@pytest.mark.parametrize(("network", "executor"), SLOW)
def test_pyocd(network: str, executor: str, probe: PyOcdServer, tmp_path: Path, kept: Kept) -> None:
    program = build(network, REAL, executor, "pyocd", tmp_path, kept)
    check(network, over(program, f"pyocd:{probe.probe}", Debug(pyocd="cortex_m")))


@pytest.mark.parametrize("executor", SESSION_EXECUTORS)
def test_serial_port(executor: str, tmp_path: Path, kept: Kept) -> None:
    """A pseudo-terminal with a native server on its other side."""
    program = build("digits", "host", executor, "process", tmp_path, kept)
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
