"""The emulator's native half: builds hooks/emulator_hooks.c once, loads it, mirrors its structs.

In: nothing but the C file beside this module and the clang of the ``ziglang`` wheel. Out:
``load_hooks()``, the loaded library. The built library lies in the user's cache (cache.py) under a
key of source, compiler, options and platform; several processes may build it at once. Assumes
that ``ziglang`` compiles for the machine it runs on.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import sys
import sysconfig
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from utvm.device.process import run_tool
from utvm.support.cache import cache_dir, cached_file
from utvm.support.errors import InternalError

STOP_NONE, STOP_NEW_EDGE, STOP_RETURNED, STOP_SLICE = 0, 1, 2, 3
STOP_STACK, STOP_UNALIGNED, STOP_INTERRUPT, STOP_ADDRESS, STOP_TICK = 4, 5, 6, 7, 8
STOP_IF_THEN = 9
NODE_CHECKS_STACK, NODE_ENTERS_MEASURED, NODE_ENTERS_OPERATOR, NODE_CHECKS_BASES = 1, 2, 4, 8
NODE_DROPPED = 16
EDGE_TAKEN, EDGE_CALLS, EDGE_CHECKS_STACK = 1, 2, 4
OWNER_INHERITED, OWNER_MEASURED = -1, 0

_FLAGS = ("-O2", "-std=c99", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror")


class Node(ctypes.Structure):
    """Mirror of ``struct node``."""

    _fields_ = (
        ("instructions", ctypes.c_int32),
        ("cycles", ctypes.c_int32),
        ("owner", ctypes.c_int32),
        ("branch", ctypes.c_int32),
        ("stack_drop", ctypes.c_uint32),
        ("bases", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("edges", ctypes.c_int32),
    )


class Edge(ctypes.Structure):
    """Mirror of ``struct edge``."""

    _fields_ = (
        ("address", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("node", ctypes.c_int32),
        ("leave_cycles", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
        ("next", ctypes.c_int32),
    )


class Owner(ctypes.Structure):
    """Mirror of ``struct owner``."""

    _fields_ = (
        ("calls", ctypes.c_uint64),
        ("instructions", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
        ("order", ctypes.c_uint64),
    )


class Machine(ctypes.Structure):
    """Mirror of ``struct machine``; the C file says what the fields mean."""

    _fields_ = (
        ("instructions", ctypes.c_uint64),
        ("cycles", ctypes.c_uint64),
        ("slice_end", ctypes.c_uint64),
        ("tick_cycles", ctypes.c_uint64),
        ("stop", ctypes.c_uint32),
        ("interrupt", ctypes.c_uint32),
        ("address", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("fault_address", ctypes.c_uint64),
        ("fault_type", ctypes.c_uint32),
        ("fault_size", ctypes.c_uint32),
        ("current", ctypes.c_int32),
        ("left", ctypes.c_int32),
        ("measuring", ctypes.c_int32),
        ("owner", ctypes.c_int32),
        ("return_address", ctypes.c_uint32),
        ("return_sp", ctypes.c_uint32),
        ("start_instructions", ctypes.c_uint64),
        ("start_cycles", ctypes.c_uint64),
        ("mark_instructions", ctypes.c_uint64),
        ("mark_cycles", ctypes.c_uint64),
        ("order", ctypes.c_uint64),
        ("owners", ctypes.POINTER(Owner)),
        ("owner_count", ctypes.c_int32),
        ("mispredict_cycles", ctypes.c_int32),
        ("stack_low", ctypes.c_uint32),
        ("lowest_sp", ctypes.c_uint32),
        ("r0_register", ctypes.c_int32),
        ("sp_register", ctypes.c_int32),
        ("lr_register", ctypes.c_int32),
        ("xpsr_register", ctypes.c_int32),
        ("emu_stop", ctypes.c_void_p),
        ("reg_read", ctypes.c_void_p),
        ("nodes", ctypes.c_void_p),
        ("edges", ctypes.c_void_p),
        ("predictors", ctypes.c_void_p),
        ("node_count", ctypes.c_int32),
        ("edge_count", ctypes.c_int32),
        ("predictor_count", ctypes.c_int32),
        ("unused_node", ctypes.c_int32),
        ("unused_edge", ctypes.c_int32),
        ("stop_count", ctypes.c_int32),
        ("stops", ctypes.POINTER(ctypes.c_uint32)),
        ("step_bytes", ctypes.c_uint32),
        ("stepped", ctypes.c_uint32),
        ("page_met", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    )


@lru_cache(maxsize=1)
def load_hooks() -> Any:
    """The native library, built if this user has not built it yet."""
    library = ctypes.CDLL(str(_built_library()))
    machine = ctypes.POINTER(Machine)
    library.emulator_add_node.argtypes = (machine, ctypes.POINTER(Node))
    library.emulator_add_edge.argtypes = (machine, ctypes.c_int32, ctypes.POINTER(Edge))
    library.emulator_add_predictor.argtypes = (machine,)
    library.emulator_drop_nodes.argtypes = (machine, ctypes.c_void_p, ctypes.c_int32)
    library.emulator_drop_nodes.restype = None
    library.emulator_reset_predictor.argtypes = (machine, ctypes.c_int32)
    library.emulator_reset_predictor.restype = None
    library.emulator_release.argtypes = (machine,)
    library.emulator_release.restype = None
    if library.emulator_machine_size() != ctypes.sizeof(Machine):
        raise InternalError("the layout of struct machine differs between C and Python")
    return library


def _built_library() -> Path:
    source = resources.files("utvm.device").joinpath("hooks", "emulator_hooks.c").read_text("utf-8")
    suffix = {"Windows": ".dll", "Darwin": ".dylib"}.get(platform.system(), ".so")
    compiler = importlib.metadata.version("ziglang")
    key = ("emulator_hooks", compiler, sysconfig.get_platform(), *_FLAGS, source)

    def build(path: Path) -> None:
        text = path.with_suffix(".c")
        text.write_text(source, encoding="utf-8")
        command = [sys.executable, "-m", "ziglang", "cc", *_FLAGS, "-o", str(path), str(text)]
        run_tool(command, cwd=path.parent, env=_environment(path.parent))

    return cached_file(f"emulator_hooks{suffix}", key, build)


def _environment(scratch: Path) -> dict[str, str]:
    """Zig's own caches go to ours, or away with the scratch folder."""
    return {
        **os.environ,
        "ZIG_GLOBAL_CACHE_DIR": str(cache_dir() / "zig"),
        "ZIG_LOCAL_CACHE_DIR": str(scratch / "zig"),
    }
