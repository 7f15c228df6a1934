"""Toolchains: how a C compiler is found and driven.

Two kinds: the clang inside the PyPI wheel ``ziglang`` ('zig', the default: needs no package of the
system), and GCC or any cross compiler with GCC's options ('gcc', or the program's path). A
toolchain only makes command lines; ``link.py`` runs them. Both get the same rules: C99, warnings
are errors, one section per function and object, no contraction of a*b+c, no tables for unwinding.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Protocol

from utvm.device.process import run_tool
from utvm.support.cache import cache_dir, cached_file
from utvm.support.errors import ToolchainError
from utvm.support.text import printable
from utvm.target.target import Target, load_target

COMMON_FLAGS = (
    "-std=c99",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Werror",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-common",
    "-fno-exceptions",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-ffp-contract=off",  # results must not depend on what the compiler fuses
    "-fno-math-errno",
    "-fno-ident",
    "-g0",  # debug information would hold paths of this machine
)

ASSEMBLY = ".s"
"""What names of assembly sources end with."""
ZIG_HINT = "pip install ziglang"
GCC_LIKE_HINT = "use zig, gcc, or the path of a GCC-like compiler"


class Toolchain(Protocol):
    """Command lines of one compiler. Paths in them are relative to the build's scratch folder."""

    @property
    def name(self) -> str:
        """The name it was asked for by: 'zig', 'gcc', or a program."""

    def version(self) -> str:
        """The compiler's version, as one line."""

    def environment(self, scratch: Path) -> Mapping[str, str]:
        """The environment for all commands."""

    def compile_command(
        self, target: Target, source: Path, out: str, include_dirs: Sequence[Path], optimize: str
    ) -> list[str]:
        """Compiles one C source, or assembles one of ``ASSEMBLY``, to the object ``out``."""

    def link_command(
        self, target: Target, objects: Sequence[str], script: Path | None, out: str, map_file: str
    ) -> list[str]:
        """Links objects; ``script`` is the linker script, None for a native program."""


def compile_flags(source: Path, include_dirs: Sequence[Path], optimize: str) -> list[str]:
    """The options that all compilers share; no path of this machine gets into the object."""
    prefixes = {str(source.parent), *(str(folder) for folder in include_dirs)}
    return [
        *COMMON_FLAGS,
        optimize,
        *(f"-ffile-prefix-map={prefix}=." for prefix in sorted(prefixes)),
        *(f"-I{folder}" for folder in include_dirs),
    ]


@dataclass(frozen=True)
class ZigToolchain:
    """The clang and lld inside the zig program, called directly.

    ``zig clang`` and ``zig ld.lld`` are the plain tools: they start in milliseconds. ``zig cc`` is
    used for native programs only, where it finds or builds the C library.
    """

    zig: Path
    name: str = "zig"

    def version(self) -> str:
        """The versions of zig and of its clang."""
        clang = _output(str(self.zig), "clang", "--version").splitlines()[0]
        return f"zig {_output(str(self.zig), 'version').strip()} ({clang})"

    def environment(self, scratch: Path) -> Mapping[str, str]:
        """Zig's own caches: what is reused goes to ours, the rest goes with the scratch folder."""
        return {
            **os.environ,
            "ZIG_GLOBAL_CACHE_DIR": str(cache_dir() / "zig"),
            "ZIG_LOCAL_CACHE_DIR": str(scratch / "zig"),
        }

    def compile_command(
        self, target: Target, source: Path, out: str, include_dirs: Sequence[Path], optimize: str
    ) -> list[str]:
        """See ``Toolchain``. Not freestanding: clang may then use memcpy, which the runtime has."""
        headers = ["-nostdinc", "-isystem", str(self.zig.parent / "lib" / "include")]
        if source.suffix == ASSEMBLY:  # clang minds options that only C needs
            folders = [f"-I{folder}" for folder in include_dirs]
            clang = [str(self.zig), "clang", *target.clang_flags, *folders]
            return [*clang, "-c", str(source), "-o", out]
        return [
            str(self.zig),
            *(["cc"] if target.is_native else ["clang", *headers]),
            *target.clang_flags,
            *compile_flags(source, include_dirs, optimize),
            *("-c", str(source), "-o", out),
        ]

    def link_command(
        self, target: Target, objects: Sequence[str], script: Path | None, out: str, map_file: str
    ) -> list[str]:
        """See ``Toolchain``; the runtime library is built when the target first needs it."""
        if script is None:
            # -O2 as when compiling: without it zig adds its checker for undefined behaviour.
            cc = (str(self.zig), "cc", "-O2", "-g0", "-Wl,--gc-sections", *target.clang_flags)
            return [*cc, *objects, "-o", out]
        library = self.runtime_library(target)
        return [
            *(str(self.zig), "ld.lld", "--gc-sections", "--build-id=none", "-n", "-L."),
            *("--threads=1", "--orphan-handling=error", "-T", str(script)),
            *objects,
            *(str(library), "-o", out, f"-Map={map_file}"),
        ]

    def runtime_library(self, target: Target) -> Path:
        """Compiler-rt for ``target``: 64-bit division, float arithmetic in software.

        The wheel has it as source. Building takes some seconds, once per target and zig version.
        """

        def build(path: Path) -> None:
            command = [
                *(str(self.zig), "build-lib", str(self.zig.parent / "lib" / "compiler_rt.zig")),
                *("-target", target.runtime_target, "-mcpu", target.runtime_cpu),
                *("-O", "ReleaseSmall", "-fstrip", "-fno-compiler-rt"),
                *("-ffunction-sections", "-fdata-sections"),
                *("--name", "compiler_rt", f"-femit-bin={path}"),
            ]
            run_tool(command, cwd=path.parent, env=self.environment(path.parent))

        version = _output(str(self.zig), "version").strip()
        key = ("compiler_rt", version, target.runtime_target, target.runtime_cpu)
        return cached_file("libcompiler_rt.a", key, build)


@dataclass(frozen=True)
class GccToolchain:
    """GCC, or a compiler with its options; links with its own libgcc and no C library."""

    program: str
    name: str = "gcc"

    def version(self) -> str:
        """The first line of ``--version``."""
        return _output(self.program, "--version").splitlines()[0]

    def environment(self, scratch: Path) -> Mapping[str, str]:
        """The caller's environment, with messages in English."""
        return {**os.environ, "LC_ALL": "C"}

    def compile_command(
        self, target: Target, source: Path, out: str, include_dirs: Sequence[Path], optimize: str
    ) -> list[str]:
        """See ``Toolchain``. Freestanding for the headers; -fbuiltin then gives memcpy back."""
        hosted = [] if target.is_native else ["-ffreestanding", "-fbuiltin"]
        return [
            *(self.program, *target.gcc_flags, *hosted),
            *compile_flags(source, include_dirs, optimize),
            *("-c", str(source), "-o", out),
        ]

    def link_command(
        self, target: Target, objects: Sequence[str], script: Path | None, out: str, map_file: str
    ) -> list[str]:
        """See ``Toolchain``."""
        command = [self.program, *target.gcc_flags, "-Wl,--gc-sections", "-Wl,--build-id=none"]
        if script is None:
            return [*command, *objects, "-o", out]
        return [
            *(*command, "-nostdlib", "-static", "-Wl,-n", "-L.", "-T", str(script)),
            *("-Wl,--orphan-handling=error", "-Wl,--fatal-warnings", f"-Wl,-Map={map_file}"),
            *(*objects, "-lgcc", "-o", out),
        ]


@cache
def _output(*command: str) -> str:
    """What a program says of itself: asked once per process."""
    return run_tool(command)


def find_toolchain(name: str | None, target: Target) -> Toolchain:
    """The toolchain called ``name``: 'zig' (also None), 'gcc', or a GCC-like program."""
    if name in (None, "zig"):
        return _find_zig()
    program = target.gcc_program if name == "gcc" else str(name)
    found = shutil.which(program)
    if found is None:
        raise ToolchainError(
            f"no program '{printable(program)}' is installed",
            hint=_gcc_hint(target) if name == "gcc" else GCC_LIKE_HINT,
        )
    return GccToolchain(found, str(name))


def _gcc_hint(target: Target) -> str:
    """The Debian package of the target's GCC is named after the program."""
    prefix = target.gcc_program.removesuffix("gcc").rstrip("-")
    package = f"gcc-{prefix}" if prefix else "gcc"
    return f"apt install {package}, or use the default toolchain zig"


def _find_zig() -> Toolchain:
    spec = find_spec("ziglang")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for program in ("zig", "zig.exe"):
            path = Path(folder) / program
            if path.is_file():
                return ZigToolchain(path)
    raise ToolchainError("the toolchain zig is not installed", hint=ZIG_HINT)


class ToolchainCheck(NamedTuple):
    """One line of ``utvm doctor``."""

    name: str
    ok: bool
    version: str  # or what is wrong
    hint: str  # how to get it, when it is not there


def check_toolchains() -> list[ToolchainCheck]:
    """Whether each known toolchain is there and starts."""
    wanted = (
        ("zig", "zig", "cortex-m4"),
        ("arm-none-eabi-gcc", "gcc", "cortex-m4"),
        ("native gcc", "gcc", "host"),
    )
    return [_check(label, name, load_target(target)) for label, name, target in wanted]


def _check(label: str, name: str, target: Target) -> ToolchainCheck:
    try:
        return ToolchainCheck(label, True, find_toolchain(name, target).version(), "")
    except ToolchainError as error:
        hint = error.hint or "reinstall it"
        return ToolchainCheck(label, False, error.what, hint)
