"""Which files of the C runtime a build needs; the runtime ships as package data in ``utvm/crt``.

In go a target and a board, out come the paths of C sources and of the folder with the public
headers. Every program gets the platform layer of the board's port and the float functions, one for
the graph executor the runtime with it; unused functions are dropped by the linker.
"""

from __future__ import annotations

from pathlib import Path

from utvm.target.board import Board
from utvm.target.target import Target

CRT = Path(__file__).resolve().parents[1] / "crt"


GRAPH_EXECUTOR = (
    "graph_load",
    "graph_runtime",
    "json",
    "memory",
    "params",
    "registry",
    "runtime",
    "status",
    "tensor",
)
"""The runtime's files that run a graph."""
_PRIVATE_HEADERS = ("graph", "json", "memory", "registry", "tensor")


def crt_include_dir() -> Path:
    """The folder to pass to ``-I``; headers are included as ``utvm/<name>.h``."""
    return CRT / "include"


def crt_headers(executor: str = "aot") -> list[Path]:
    """All headers that the runtime's sources include, sorted."""
    private = _PRIVATE_HEADERS if executor == "graph" else ()
    public = crt_include_dir().rglob("*.h")
    return sorted([*public, *(CRT / "src" / f"{name}.h" for name in private)])


def crt_sources(target: Target, board: Board, executor: str = "aot") -> list[Path]:
    """The runtime's sources for a program on ``board``, in link order."""
    port = sorted((CRT / "port" / board.port).glob("*.c"))
    shared = [CRT / "src" / "math.c"]
    if not target.is_native:  # a native program has the C library's mem* functions
        shared.append(CRT / "src" / "mem.c")
    if executor == "graph":
        shared += [CRT / "src" / f"{name}.c" for name in GRAPH_EXECUTOR]
    return [*port, *shared]
