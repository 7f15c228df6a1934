"""Modules: kernels that are linked alone and put beside a program that stays on the device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.compiled import run_models
from tests.memory.programs import OPERATORS, build, build_module, open_emulator, write_functions
from tests.random_networks import random_network
from utvm.codegen.c_entry import kernel_functions
from utvm.device.elf import ElfImage, read_elf
from utvm.device.memory_session import MemorySession
from utvm.device.session import DeviceFaultError, DeviceTensor, StatusError
from utvm.driver.pipeline import compile_graph
from utvm.driver.session_network import SessionNetwork
from utvm.importers.tflite import import_tflite
from utvm.op.registry import find_op
from utvm.support.errors import DeviceError, InputError, MemoryLimitError
from utvm.target.board import load_board
from utvm.target.target import load_target

CASES = [
    ("emu_cortex_m4", None),
    ("emu_cortex_m4", "gcc"),
    ("emu_cortex_m0plus", None),
    ("emu_cortex_m7", None),
]
UINT32 = np.dtype(np.uint32)
SQUARE = """
#include "utvm/runtime.h"
int32_t square(TVMValue *args, int *type_codes, int num_args, TVMValue *ret_value,
               int *ret_type_code, void *resource_handle);
int32_t square(TVMValue *args, int *type_codes, int num_args, TVMValue *ret_value,
               int *ret_type_code, void *resource_handle) {
  static const uint32_t bytes[] = {4};
  int32_t *data = TVMBackendTensorData(args, 0);
  const int32_t status = TVMBackendCheckTensors(args, type_codes, num_args, bytes, 1);
  void *workspace;
  (void)ret_value;
  (void)ret_type_code;
  if (status != TVM_OK || TVMBackendAllocWorkspace(resource_handle, 8, &workspace) != TVM_OK) {
    return TVM_ERROR_WORKSPACE;
  }
  *data = *data * *data + EXTRA;
  return TVMBackendFreeWorkspace(resource_handle, workspace, 8);
}
"""


def square(folder: Path, board: str, resident: ElfImage, extra: int, toolchain: str | None) -> Path:
    """A module whose one function squares and adds ``extra``."""
    own = folder / f"square_{extra}"
    own.mkdir()
    (own / "square.c").write_text(SQUARE.replace("EXTRA", str(extra)))
    return build_module(board, own, resident, [own / "square.c"], ["square"], toolchain)


def squared(session: MemorySession, address: int, value: int) -> int:
    session.write(address, value.to_bytes(4, "little"))
    session.call(session.function("square"), [DeviceTensor(address, (1,), UINT32)])
    return int.from_bytes(session.read(address, 4), "little")


@pytest.mark.parametrize(("board", "toolchain"), CASES)
def test_a_module_takes_the_place_of_the_last(
    board: str, toolchain: str | None, tmp_path: Path
) -> None:
    resident = build(board, tmp_path, module_bytes=4096, toolchain=toolchain)
    first, second = (
        read_elf(square(tmp_path, board, resident, extra, toolchain)) for extra in (1, 2)
    )
    session, access = open_emulator(board, resident)
    with session:
        address = session.allocate(4)
        with pytest.raises(StatusError, match="TVM_ERROR_FUNCTION"):
            session.function("square")
        session.load(first)
        assert squared(session, address, 7) == 50
        written, instructions = session.written_bytes, access.machine.instructions
        session.load(second)
        assert squared(session, address, 7) == 51
        # What makes a load quick: one grain of code differs, and a run has little around it.
        assert session.written_bytes - written <= 128
        assert access.machine.instructions - instructions < 20_000
        session.load(second)
        assert squared(session, address, 9) == 83
        sizes = []
        for turn in range(40):
            session.load((first, second)[turn % 2])
            assert squared(session, address, 3) == 10 + turn % 2
            sizes.append(access.machine.table_sizes)
        assert sizes[-1] == sizes[9], "what is replaced is forgotten"


def test_variables_of_a_module_start_anew_when_it_is_loaded(tmp_path: Path) -> None:
    board = "emu_cortex_m4"
    resident = build(board, tmp_path, module_bytes=8192)
    module = read_elf(build_module(board, tmp_path, resident, [OPERATORS], ["test_functions"]))
    session, _ = open_emulator(board, resident)
    with session:
        tensor = DeviceTensor(session.allocate(8), (2,), UINT32)
        for _ in range(2):
            session.load(module)
            for turn in range(2):
                session.call(session.function("count"), [tensor])
                found = np.frombuffer(session.read(tensor.address, 8), UINT32).tolist()
                assert found == [5 + turn, turn]
        session.call(session.function("crash"), [])
        with pytest.raises(DeviceFaultError, match=r"\(crash\+0x"):
            session.flush()
        session.call(session.function("count"), [tensor])
        found = np.frombuffer(session.read(tensor.address, 8), UINT32).tolist()
        assert found == [5, 0], "it is written again with the program"
        session.reset()
        assert session.function("count").name == "count", "it stays over a reset"


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    board = "emu_cortex_m4"
    resident = build(board, tmp_path, module_bytes=64)
    with pytest.raises(MemoryLimitError, match="will not fit in region 'module'"):
        build_module(board, tmp_path, resident, [OPERATORS], ["test_functions"])
    with pytest.raises(InputError, match="without functions that are kept"):
        build_module(board, tmp_path, resident, [OPERATORS], [])
    roomy = tmp_path / "roomy"
    roomy.mkdir()
    other = build(board, roomy, [OPERATORS], keep=["test_functions"], module_bytes=4096)
    module = read_elf(square(tmp_path, board, other, 1, None))
    session, _ = open_emulator(board, resident)
    with session, pytest.raises(DeviceError, match="not linked for this program; expected addr"):
        session.load(module)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_random_networks_as_modules_of_one_program(dtype: str, tmp_path: Path) -> None:
    """Each kernel of each network, called from here, gives what the operators' definitions give."""
    board = "emu_cortex_m4"
    target = load_target(load_board(board).target)
    resident = build(board, tmp_path, module_bytes=256 << 10)
    session, _ = open_emulator(board, resident)
    cases = [random_network(seed, dtype) for seed in range(100, 104)]
    expected = run_models([(model, [data]) for model, data in cases])
    with session:
        for number, (model, data) in enumerate(cases):
            graph = import_tflite(model, name="model", find_op=find_op)
            compiled = compile_graph(graph, target, executor="host")
            folder = tmp_path / str(number)
            folder.mkdir()
            functions = kernel_functions(compiled.module, compiled.plan)
            sources = write_functions(functions, folder)
            module = build_module(board, folder, resident, sources, [functions.registry])
            session.load(read_elf(module))
            network = SessionNetwork(compiled, session)
            outputs = network.run(
                (data.reshape(1, *compiled.module.tensors[compiled.module.inputs[0]].shape),)
            )
            for output, right in zip(outputs, expected[number], strict=True):
                np.testing.assert_array_equal(output.reshape(right.shape), right)
            network.close()
