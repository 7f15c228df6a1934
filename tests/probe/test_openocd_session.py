"""Networks in the RAM of the virtual STM32F746, through OpenOCD and JTAG: the golden outputs.

In: the demo's network, kernel by kernel, and one of ../shared/models for one row, since every bit
takes two bytes through a socket. All networks and executors that fit this chip's 256 KiB are in
tests/models/test_matrix.py. Faults in operators, too, come back through the probe.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import PATIENCE_SECONDS, REPOSITORY
from tests.probe.remote_bitbang import RemoteBitbang
from tests.probe.test_openocd import CHIP, needs_openocd
from tests.probe.virtual_chip import virtual_chip
from utvm.device.elf import ElfImage
from utvm.device.memory_openocd import OpenOcdAccess
from utvm.device.memory_program import build_memory_program, read_memory_program
from utvm.device.memory_session import MemorySession, open_memory_session
from utvm.device.session import DeviceFaultError, DeviceTensor
from utvm.device.toolchain import find_toolchain
from utvm.driver.load import import_model, load_model
from utvm.driver.pipeline import compile_graph
from utvm.driver.session_network import SessionNetwork
from utvm.target.board import load_board
from utvm.target.target import load_target

BOARD = load_board("nucleo_f746zg")
DIGITS = REPOSITORY / "examples" / "digits"
OPERATORS = """
#include "utvm/runtime.h"
int32_t fall(const TVMValue *args, const int32_t *codes, int32_t count);
int32_t add_one(const TVMValue *args, const int32_t *codes, int32_t count);

int32_t fall(const TVMValue *args, const int32_t *codes, int32_t count)
{
    (void)args, (void)codes, (void)count;
    __builtin_trap();
}

int32_t add_one(const TVMValue *args, const int32_t *codes, int32_t count)
{
    (void)codes, (void)count;
    const DLTensor *tensor = args[0].v_handle;
    *(uint8_t *)tensor->data += 1;
    return 0;
}
"""


def program(sources: list[Path], folder: Path, keep: list[str]) -> ElfImage:
    target = load_target(BOARD.target)
    toolchain = find_toolchain(None, target)
    out = folder / "program.elf"
    build_memory_program(toolchain, target, BOARD, sources, [folder], out, keep=keep)
    return read_memory_program(out, BOARD)


def session(server: RemoteBitbang, image: ElfImage) -> MemorySession:
    access = OpenOcdAccess((*server.openocd, *CHIP), timeout_seconds=PATIENCE_SECONDS)
    return open_memory_session(access, image, BOARD, timeout_seconds=PATIENCE_SECONDS)


def check(model: Path, golden: Path, executor: str, rows: int, folder: Path) -> None:
    needs_openocd()
    target = load_target(BOARD.target)
    compiled = compile_graph(import_model(load_model(model)), target, executor=executor)
    functions = compiled.functions
    for name, text in functions.sources.items():
        (folder / name).write_text(text, encoding="ascii")
    sources = [folder / name for name in functions.sources if name.endswith(".c")]
    image = program(sources, folder, [functions.registry])
    with (
        np.load(golden) as data,
        RemoteBitbang(virtual_chip(jtag=True), folder) as server,
        session(server, image) as opened,
    ):
        inputs = tuple(data[f"in{k}"][:rows] for k in range(len(compiled.module.inputs)))
        outputs = SessionNetwork(compiled, opened).run(inputs)
        for k, output in enumerate(outputs):
            np.testing.assert_array_equal(output, data[f"out{k}"][:rows])


def test_digits(tmp_path: Path) -> None:
    check(DIGITS / "digits.tflite", DIGITS / "digits_test.npz", "host", 2, tmp_path)


@pytest.mark.slow
def test_mlperf_kws(shared_models: Path, tmp_path: Path) -> None:
    folder = shared_models / "mlperf_kws_int8"
    check(folder / "model.tflite", folder / "golden.npz", "aot", 1, tmp_path)


def test_a_fault_is_named_and_the_session_goes_on(tmp_path: Path) -> None:
    needs_openocd()
    source = tmp_path / "operators.c"
    source.write_text(OPERATORS)
    image = program([source], tmp_path, ["fall", "add_one"])
    with (
        RemoteBitbang(virtual_chip(jtag=True), tmp_path) as server,
        session(server, image) as opened,
    ):
        fall, add_one = opened.function("fall"), opened.function("add_one")
        opened.call(fall, ())
        with pytest.raises(DeviceFaultError, match=r"call of fall: the device faulted; found .*fa"):
            opened.flush()
        address = opened.allocate(8)
        tensor = DeviceTensor(address, (1,), np.dtype("uint8"))
        opened.write(address, b"\x05")
        opened.call(add_one, (tensor,))
        opened.call(add_one, (tensor,))
        assert opened.read(address, 1) == b"\x07"
        assert min(opened.time(add_one, (tensor,), number=10).cycles) > 0
