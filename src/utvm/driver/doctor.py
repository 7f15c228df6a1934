"""What ``utvm doctor`` checks: whether the things that utvm needs are there and work.

In: nothing. Out: one ``Check`` per thing, needed or merely useful. Working is shown by doing: a
network of one operator is compiled, linked and run on the emulated board, and on this computer.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from utvm.device.emulator_hooks import load_hooks
from utvm.device.process import run_tool
from utvm.device.qemu import find_qemu, qemu_program
from utvm.device.toolchain import check_toolchains
from utvm.driver.build import Build, build_graph
from utvm.driver.load import Model
from utvm.driver.options import resolve_options
from utvm.driver.run import run_build
from utvm.driver.stages import one_operator_graph
from utvm.support.cache import cache_dir
from utvm.support.errors import InternalError, UtvmError
from utvm.target.target import load_target

NEEDED_PYTHON = (3, 11)


@dataclass(frozen=True)
class Check:
    """One line. ``detail`` is a version or path, or what is wrong; ``hint`` how to get it right."""

    name: str
    ok: bool
    needed: bool
    detail: str
    hint: str = ""


def check_all() -> list[Check]:
    """Every check, in the order in which things depend on each other."""
    python = Check(
        "python",
        sys.version_info >= NEEDED_PYTHON,
        True,
        platform.python_version(),
        "utvm needs Python 3.11 or newer",
    )
    toolchains = [
        Check(check.name, check.ok, check.name == "zig", check.version, check.hint)
        for check in check_toolchains()
    ]
    return [
        python,
        _attempt("cache folder", _cache, "set UTVM_CACHE_DIR to a folder that can be written"),
        *toolchains,
        _attempt("emulator hooks", _hooks, "pip install --force-reinstall ziglang unicorn"),
        _attempt("run on emulated cortex-m7", lambda: _run("cortex-m7"), "see the lines above"),
        _attempt("run on this computer", lambda: _run("host"), "see the lines above", needed=False),
        _qemu("cortex-m4"),
        _qemu("riscv32imc"),
    ]


def _attempt(name: str, check: Callable[[], str], hint: str, *, needed: bool = True) -> Check:
    try:
        return Check(name, True, needed, check())
    except (UtvmError, InternalError, OSError) as error:
        own_hint = error.hint if isinstance(error, UtvmError) else ""
        what = error.what if isinstance(error, UtvmError) else str(error)
        return Check(name, False, needed, what, own_hint or hint)


def _cache() -> str:
    folder = cache_dir()
    with tempfile.NamedTemporaryFile(dir=folder) as probe:
        probe.write(b"x")
    return str(folder)


def _hooks() -> str:
    load_hooks()
    return "compiled and loaded"


def _run(target: str) -> str:
    """Builds and runs a network that copies its input."""
    graph = one_operator_graph()
    model = Model(graph.name, Path(graph.name), "graph", b"")
    sent = np.arange(-3, 4, dtype=np.int8)[:, None]
    with tempfile.TemporaryDirectory(prefix="utvm-") as scratch:
        build: Build = build_graph(model, graph, resolve_options(target), Path(scratch))
        run = run_build(build, (sent,))
    if not np.array_equal(run.outputs[0], sent):
        raise InternalError(f"sent {sent.tolist()}, got {run.outputs[0].tolist()}")
    return "built and run" if run.cycles is None else f"built and run, {run.cycles} cycles"


def _qemu(target: str) -> Check:
    name, package = qemu_program(load_target(target))
    hint = f"apt install {package}; only tests and QEMU boards use it"
    return _attempt(
        name,
        lambda: run_tool([find_qemu(load_target(target)), "--version"]).splitlines()[0],
        hint,
        needed=False,
    )
