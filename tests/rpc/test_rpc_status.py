"""Status codes are the same in headers, SPEC.md and on the host; the server keeps to its budget."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

from tests.conftest import REPOSITORY
from utvm.device.crt import CRT, GRAPH_EXECUTOR, crt_include_dir
from utvm.device.rpc_program import SERVER
from utvm.device.session import STATUS_NAMES, status_name
from utvm.device.toolchain import COMMON_FLAGS

# Bytes of flash on a Cortex-M4 with GCC at -Os: everything that the server itself needs.
RPC_BUDGET_BYTES = 4096
BOTH_BUDGET_BYTES = 12 * 1024


def header_codes() -> dict[int, str]:
    text = "".join(
        (CRT / "include" / "utvm" / name).read_text("utf-8") for name in ("runtime.h", "rpc.h")
    )
    codes = re.findall(r"\b(TVM_OK|TVM_ERROR_\w+)\s*=\s*(-?\d+)", text)
    return {int(code): name for name, code in codes}


def test_the_host_knows_every_status() -> None:
    assert header_codes() == STATUS_NAMES
    assert status_name(-1) == "TVM_ERROR_ARGUMENT"
    assert status_name(-1000) == "status -1000"


def test_the_specification_lists_every_status_of_the_server() -> None:
    text = (REPOSITORY / "SPEC.md").read_text("utf-8")
    listed = re.findall(r"^\| (-\d+) \| (TVM_ERROR_RPC_\w+) \|", text, re.M)
    assert {int(code): name for code, name in listed} == {
        code: name for code, name in STATUS_NAMES.items() if code <= -64
    }


def flash_bytes(path: Path) -> int:
    """Code and constants of an object file; the runtime has no variables."""
    with path.open("rb") as stream:
        sections = list(ELFFile(stream).iter_sections())
    allocated = [s for s in sections if s["sh_flags"] & SH_FLAGS.SHF_ALLOC]
    assert not any(s["sh_flags"] & SH_FLAGS.SHF_WRITE and s["sh_size"] for s in allocated), path
    return sum(int(s["sh_size"]) for s in allocated)


def test_size_of_the_server(tmp_path: Path) -> None:
    gcc = shutil.which("arm-none-eabi-gcc")
    if gcc is None:
        pytest.skip("needs arm-none-eabi-gcc")
    sizes = {}
    for name in (*GRAPH_EXECUTOR, *SERVER):
        source, out = CRT / "src" / f"{name}.c", tmp_path / f"{name}.o"
        command = [gcc, "-mthumb", "-mcpu=cortex-m4", "-ffreestanding", "-fbuiltin", "-Os"]
        command += [*COMMON_FLAGS, f"-I{crt_include_dir()}", "-c", str(source), "-o", str(out)]
        subprocess.run(command, check=True)
        sizes[name] = flash_bytes(out)
    rpc = sum(sizes[name] for name in SERVER)
    assert 2000 < rpc <= RPC_BUDGET_BYTES, sizes
    assert sum(sizes.values()) <= BOTH_BUDGET_BYTES, sizes
