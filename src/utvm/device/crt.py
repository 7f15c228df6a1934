"""Which files of the C runtime a build needs; the runtime ships as package data in ``utvm/crt``.

In go a target and a board, out come the paths of C sources and of the folder with the public
headers. Every program gets the platform layer of the board's port and the float functions; unused
functions are dropped by the linker.
"""

from __future__ import annotations

from pathlib import Path

from utvm.target.board import Board
from utvm.target.target import Target

CRT = Path(__file__).parents[1] / "crt"


def crt_include_dir() -> Path:
    """The folder to pass to ``-I``; headers are included as ``utvm/<name>.h``."""
    return CRT / "include"


def crt_sources(target: Target, board: Board) -> list[Path]:
    """The runtime's sources for a program on ``board``, in link order."""
    port = sorted((CRT / "port" / board.port).glob("*.c"))
    shared = [CRT / "src" / "math.c"]
    if not target.is_native:  # a native program has the C library's mem* functions
        shared.append(CRT / "src" / "mem.c")
    return [*port, *shared]
