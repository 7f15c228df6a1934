"""From configs to a module for a device's RAM: several candidates share one compilation.

In: kernels and configs. Out: ``Candidate``s as C, and modules linked against the program that the
device runs already. Starting compiler and linker costs as much as compiling a kernel, so a batch of
candidates is one C file, one object and one module. The options are those of ``utvm run``: a
candidate's code is what a network gets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from utvm.codegen.c_entry import SessionFunctions, kernel_functions
from utvm.device.crt import crt_include_dir
from utvm.device.elf import ElfImage, read_elf
from utvm.device.memory_program import (
    build_memory_module,
    build_memory_program,
    free_memory,
    read_memory_program,
)
from utvm.device.toolchain import Toolchain
from utvm.driver.pipeline import finish_module
from utvm.ir.loop import Module
from utvm.passes.plan_memory import plan_memory
from utvm.schedule.module import schedule_alone
from utvm.schedule.options import Option
from utvm.support.errors import MemoryLimitError, ScheduleError
from utvm.target.board import Board
from utvm.target.target import Target

_MOST_MODULE_BYTES = 1 << 20
_SMALLEST_MODULE_BYTES = 4096
_WORKSPACE_SHARE = 4  # of the RAM beside the program is left for workspaces


@dataclass(frozen=True, eq=False)
class Candidate:
    """A scheduled kernel as C. ``functions`` has one name: the kernel with a packed signature."""

    module: Module
    functions: SessionFunctions

    @property
    def symbol(self) -> str:
        return self.functions.names[0]

    @property
    def constant_bytes(self) -> int:
        return sum(data.nbytes for data in self.module.constants.values())

    def code_bytes(self, image: ElfImage) -> int:
        """Of the kernel and its micro functions, without the packed wrapper."""
        prefix = self.symbol.split("_", 2)
        own = "_".join(prefix[:2]) + "_"
        return sum(
            function.size
            for function in image.functions
            if function.name.startswith(own) and function.name != self.symbol
        )


@dataclass(frozen=True)
class Workbench:
    """What all builds for one device share. ``folder`` is scratch."""

    target: Target
    board: Board
    toolchain: Toolchain
    folder: Path


def make_candidate(module: Module, option: Option, target: Target, name: str) -> Candidate:
    """The candidate ``name`` of the unscheduled kernel in ``module``."""
    scheduled = option.build()
    if scheduled is None:
        raise ScheduleError("the template does not take this kernel")
    finished = finish_module(schedule_alone(replace(module, name=name), scheduled), target)
    return Candidate(finished, kernel_functions(finished, plan_memory(finished)))


def build_resident(bench: Workbench, tensor_bytes: int) -> ElfImage:
    """The program that candidates are linked against; it leaves room for tensors of so many
    bytes, and for workspaces."""

    def build(module_bytes: int) -> ElfImage:
        out = build_memory_program(
            bench.toolchain,
            bench.target,
            bench.board,
            [],
            [bench.folder],
            bench.folder / "resident.elf",
            module_bytes=module_bytes,
        )
        return read_memory_program(out, bench.board)

    (low, high), *others = free_memory(build(_SMALLEST_MODULE_BYTES), bench.board)
    elsewhere = max((end - begin for begin, end in others), default=0)
    rest = (high - low) - (high - low) // _WORKSPACE_SHARE
    room = rest if elsewhere >= 2 * tensor_bytes else rest - tensor_bytes
    if room < _SMALLEST_MODULE_BYTES:
        raise MemoryLimitError(
            "the device's RAM does not hold a kernel with its tensors",
            where=bench.board.name,
            expected=f"{tensor_bytes + _SMALLEST_MODULE_BYTES} bytes",
            found=f"{rest} bytes",
            hint="tune on a board with more memory, or on the emulator",
        )
    return build(min(room, _MOST_MODULE_BYTES) & ~7)


def build_module(bench: Workbench, resident: ElfImage, candidates: list[Candidate]) -> ElfImage:
    """One module with all candidates."""
    included: list[str] = []
    for candidate in candidates:
        for name, text in candidate.functions.sources.items():
            (bench.folder / name).write_text(text, encoding="utf-8")
            if name.endswith(".c"):
                included.append(name)
    source = bench.folder / "candidates.c"
    lines = [f'#include "{name}"' for name in included]
    source.write_text("\n".join(lines) + "\n", encoding="ascii")
    out = build_memory_module(
        bench.toolchain,
        bench.target,
        bench.board,
        resident,
        [source],
        [bench.folder, crt_include_dir()],
        bench.folder / "candidates.elf",
        keep=[candidate.functions.registry for candidate in candidates],
    )
    return read_elf(out)
