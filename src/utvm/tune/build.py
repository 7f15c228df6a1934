"""From a config to a module for a device's RAM.

In: a kernel and an option. Out: a ``Candidate`` as C, and its module, linked against the program
that the device runs already. Compiler and its options are those of ``utvm run``: the code of a
candidate is what a network gets.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from utvm.codegen.c_entry import SessionFunctions, kernel_functions
from utvm.codegen.c_module import prefix_of
from utvm.device.crt import CRT, crt_include_dir
from utvm.device.elf import ElfImage, read_elf
from utvm.device.link import compile_object
from utvm.device.memory_program import (
    build_memory_module,
    build_memory_program,
    free_memory,
    read_memory_program,
)
from utvm.device.toolchain import COMMON_FLAGS, Toolchain
from utvm.driver.pipeline import finish_module
from utvm.ir.loop import Invoke, Module, Stmt
from utvm.ir.rewrite import map_statements
from utvm.passes.plan_memory import plan_memory
from utvm.schedule.conv_kernel import Scheduled
from utvm.schedule.knobs import Option
from utvm.schedule.module import schedule_alone
from utvm.support.cache import cached_file
from utvm.support.errors import MemoryLimitError, ScheduleError
from utvm.target.board import Board
from utvm.target.target import Target
from utvm.tune.assembly_text import assembly_text, constant_bytes

_MOST_MODULE_BYTES = 1 << 20
_SMALLEST_MODULE_BYTES = 4096
_NAME = "trial"
_CONSTANTS = "constants.bin"
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
        own = prefix_of(self.module) + "_"
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

    @property
    def key(self) -> tuple[str, ...]:
        """What an object depends on beside its text."""
        flags = (*COMMON_FLAGS, *self.target.clang_flags, *self.target.gcc_flags)
        return (self.toolchain.version(), self.target.name, *flags, _runtime_digest())


def make_candidate(module: Module, option: Option, target: Target) -> Candidate:
    """A candidate of the unscheduled kernel in ``module``.

    All candidates have the same names: where only micro functions differ, kernels are equal texts.
    """
    scheduled = option.build()
    if scheduled is None:
        raise ScheduleError("the template does not take this kernel")
    alone = schedule_alone(replace(module, name=_NAME), _numbered(scheduled))
    finished = finish_module(alone, target)
    # The constants themselves are printed by the assembler, not as C.
    heads = {name: data.reshape(-1)[:1] for name, data in finished.constants.items()}
    named = replace(finished, constants=heads)
    return Candidate(finished, kernel_functions(named, plan_memory(finished)))


def _numbered(scheduled: Scheduled) -> Scheduled:
    """Micro functions by number instead of by what they do."""
    names = {micro.name: f"micro_{at}" for at, micro in enumerate(scheduled.micros)}

    def change(stmt: Stmt) -> Stmt:
        return replace(stmt, function=names[stmt.function]) if isinstance(stmt, Invoke) else stmt

    return replace(
        scheduled,
        function=replace(scheduled.function, body=map_statements(scheduled.function.body, change)),
        micros=tuple(replace(micro, name=names[micro.name]) for micro in scheduled.micros),
    )


def build_resident(bench: Workbench, tensor_bytes: int) -> ElfImage:
    """The program that candidates are linked against; it leaves room for tensors of so many
    bytes, and for workspaces."""

    def build(module_bytes: int) -> ElfImage:
        def make(out: Path) -> None:
            none: list[Path] = []
            link = partial(build_memory_program, bench.toolchain, bench.target, bench.board)
            link(none, none, out, module_bytes=module_bytes)

        key = (*bench.key, repr(bench.board), str(module_bytes))
        return read_memory_program(cached_file("resident.elf", key, make), bench.board)

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


_LENGTH = re.compile(r"\[\d+\];")
"""Of a declared constant: it differs where kernels do not, and is nothing to the code."""


def build_module(bench: Workbench, resident: ElfImage, candidate: Candidate) -> ElfImage:
    """The module of a candidate.

    Kernels seldom differ from one candidate to the next: so they are compiled apart, and kept in
    the cache. Micro functions and constants do differ, and go to the assembler without C.
    """
    files = candidate.functions.sources
    prefix = prefix_of(candidate.module)
    kernel = _without_micros(files[f"{prefix}_kernels.c"], candidate.module)
    own = {f"{prefix}_kernels.h": _LENGTH.sub("[];", files[f"{prefix}_kernels.h"])}
    wrapper = {f"{prefix}.h": files[f"{prefix}.h"], **own}
    objects = [
        _object(bench, "kernel.c", kernel, own),
        _object(bench, "packed.c", files[f"{prefix}_packed.c"], wrapper),
    ]
    source = bench.folder / "candidate.s"
    source.write_text(assembly_text(candidate.module, _CONSTANTS), encoding="ascii")
    (bench.folder / _CONSTANTS).write_bytes(constant_bytes(candidate.module))
    out = build_memory_module(
        bench.toolchain,
        bench.target,
        bench.board,
        resident,
        [source],
        [bench.folder, crt_include_dir()],
        bench.folder / "candidate.elf",
        keep=[candidate.functions.registry],
        objects=objects,
        jobs=1,
    )
    return read_elf(out)


def _without_micros(text: str, module: Module) -> str:
    """The kernel with declarations of its assembled micro functions."""
    for assembly in module.assembly.values():
        _, _, function = assembly.partition("static UTVM_ASSEMBLY ")
        head, brace, _ = function.partition(" {\n")
        assert brace, assembly
        text = text.replace(assembly, f"{head};\n")
    return text


def _object(bench: Workbench, name: str, text: str, headers: Mapping[str, str]) -> Path:
    """A C text compiled, or from the cache."""

    def build(out: Path) -> None:
        for header, content in headers.items():
            out.with_name(header).write_text(content, encoding="utf-8")
        source = out.with_name(name)
        source.write_text(text, encoding="utf-8")
        folders = [out.parent, crt_include_dir()]
        compile_object(bench.toolchain, bench.target, source, folders, out)

    return cached_file(f"{name}.o", (*bench.key, text, *headers.values()), build)


@cache
def _runtime_digest() -> str:
    """Of the runtime: what generated code includes, and what it is linked against."""
    digest = hashlib.sha256()
    for path in sorted(CRT.rglob("*.*")):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()
