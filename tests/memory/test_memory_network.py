"""Networks whose kernels lie in RAM and whose graph stays here give the golden outputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.memory.programs import build, open_emulator, write_functions
from utvm.codegen.c_entry import kernel_functions
from utvm.driver.load import import_model, load_model
from utvm.driver.pipeline import compile_graph
from utvm.driver.session_network import SessionNetwork
from utvm.target.board import load_board
from utvm.target.target import load_target

DIGITS = REPOSITORY / "examples" / "digits"
BOARDS = ["emu_cortex_m0plus", "emu_cortex_m4", "emu_cortex_m7"]


def check(model: Path, golden: Path, board: str, rows: int, folder: Path) -> None:
    target = load_target(load_board(board).target)
    compiled = compile_graph(import_model(load_model(model)), target, executor="host")
    functions = kernel_functions(compiled.module, compiled.plan)
    sources = write_functions(functions, folder)
    image = build(board, folder, sources, keep=[functions.registry])
    session, _ = open_emulator(board, image)
    with session, np.load(golden) as data:
        network = SessionNetwork(compiled, session)
        inputs = tuple(data[f"in{k}"][:rows] for k in range(len(compiled.module.inputs)))
        for k, output in enumerate(network.run(inputs)):
            np.testing.assert_array_equal(output, data[f"out{k}"][:rows])
        statistics = session.statistics()
        assert statistics.calls == rows * len(compiled.module.calls)
        assert statistics.frames <= rows * (len(compiled.module.calls) // 4 + 1)
        cycles = [session.time(step.function, step.tensors).cycles[0] for step in network.steps]
        assert min(cycles) > 0
        network.close()
        assert session._memory.used_bytes == 0


@pytest.mark.parametrize("board", BOARDS)
def test_digits(board: str, tmp_path: Path) -> None:
    check(DIGITS / "digits.tflite", DIGITS / "digits_test.npz", board, 5, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("network", ["mlperf_ad01_int8", "mlperf_kws_int8"])
def test_real_networks(network: str, board: str, shared_models: Path, tmp_path: Path) -> None:
    folder = shared_models / network
    check(folder / "model.tflite", folder / "golden.npz", board, 2, tmp_path)
