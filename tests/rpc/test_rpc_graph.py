"""Networks whose graph stays on the host: kernels called one by one give the golden outputs."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import PATIENCE_SECONDS, REPOSITORY
from utvm.codegen.c_rpc_main import rpc_program
from utvm.device.crt import crt_include_dir
from utvm.device.link import build_elf
from utvm.device.rpc_client import RpcSession
from utvm.device.rpc_program import connect, rpc_sources
from utvm.device.toolchain import find_toolchain
from utvm.driver.load import import_model, load_model
from utvm.driver.pipeline import compile_graph
from utvm.driver.session_network import SessionNetwork, session_memory_bytes
from utvm.support.errors import UnsupportedError
from utvm.target.board import Board, load_board
from utvm.target.target import load_target

BOARDS = ["host", "emu_cortex_m4", "mps2_an386"]
DIGITS = REPOSITORY / "examples" / "digits"


def board_of(name: str) -> Board:
    board = load_board(name)
    if board.run == "qemu" and shutil.which("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")
    return board


def check(model: Path, golden: Path, board: Board, rows: int, folder: Path) -> None:
    """The outputs of the first rows, and the memory: no more and no less than was forecast."""
    target = load_target(board.target)
    compiled = compile_graph(import_model(load_model(model)), target, executor="host")
    memory_bytes = session_memory_bytes(compiled)
    files = rpc_program(compiled.module, compiled.functions, memory_bytes)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="ascii")
    sources = [*(folder / name for name in files if name.endswith(".c")), *rpc_sources(board)]
    program = build_elf(
        find_toolchain(None, target),
        target,
        board,
        sources,
        [folder, crt_include_dir()],
        folder / "server.elf",
    )
    with (
        np.load(golden) as data,
        RpcSession(connect(program, board), timeout_seconds=PATIENCE_SECONDS) as session,
    ):
        graph = SessionNetwork(compiled, session)
        inputs = tuple(data[f"in{k}"][:rows] for k in range(len(compiled.module.inputs)))
        for k, output in enumerate(graph.run(inputs)):
            np.testing.assert_array_equal(output, data[f"out{k}"][:rows])
        statistics = session.statistics()
        assert statistics.calls == rows * len(compiled.module.calls)
        assert statistics.memory_peak_bytes == memory_bytes
        step = graph.steps[0]
        assert session.time(step.function, step.tensors, repeat=2, number=2).cycles_per_call > 0
        graph.close()


@pytest.mark.parametrize("name", BOARDS)
def test_digits(name: str, tmp_path: Path) -> None:
    check(DIGITS / "digits.tflite", DIGITS / "digits_test.npz", board_of(name), 5, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize("network", ["mlperf_ad01_int8", "mlperf_kws_int8"])
def test_real_networks(network: str, name: str, shared_models: Path, tmp_path: Path) -> None:
    folder = shared_models / network
    check(folder / "model.tflite", folder / "golden.npz", board_of(name), 2, tmp_path)


def test_a_board_without_a_server_is_refused() -> None:
    with pytest.raises(
        UnsupportedError, match=r"emu_cortex_m0plus: there is no RPC server.*field 'driver'"
    ):
        rpc_sources(load_board("emu_cortex_m0plus"))
