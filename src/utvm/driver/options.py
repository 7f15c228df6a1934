"""The typed options of a build: target, board, toolchain, executor.

In: names as a person types them. Out: ``BuildOptions`` with everything looked up, so that a
mistake is refused before any work starts.
"""

from __future__ import annotations

from dataclasses import dataclass

from utvm.device.toolchain import Toolchain, find_toolchain
from utvm.support.errors import InputError
from utvm.support.text import printable
from utvm.target.board import Board, load_board
from utvm.target.target import Target, load_target

DEFAULT_TARGET = "cortex-m7"
EXECUTORS = ("aot", "graph")
PARAMS = ("linked", "loaded")
"""Where the graph executor has its parameters: in the kernels' code, or copied to RAM at start."""


@dataclass(frozen=True)
class BuildOptions:
    """For what, and with what, a program is built."""

    target: Target
    board: Board
    toolchain: Toolchain
    executor: str = "aot"
    optimize: str = "-O2"
    params: str = "linked"  # one of PARAMS; ahead-of-time code has them linked


def resolve_options(
    target: str | None = None,
    board: str | None = None,
    executor: str = "aot",
    toolchain: str | None = None,
) -> BuildOptions:
    """Looks the names up. A board implies its target, a target its default board."""
    found_target, found_board = resolve_board(target, board)
    check_executor(executor)
    return BuildOptions(
        found_target, found_board, find_toolchain(toolchain, found_target), executor
    )


def check_executor(executor: str) -> None:
    """Refuses what is no executor."""
    if executor not in EXECUTORS:
        raise InputError(
            f"unknown executor '{printable(executor)}'", expected=f"one of {', '.join(EXECUTORS)}"
        )


def resolve_board(target: str | None, board: str | None) -> tuple[Target, Board]:
    """The target and the board that belong together."""
    if board is None:
        found = load_target(target or DEFAULT_TARGET)
        return found, load_board(found.default_board)
    found_board = load_board(board)
    if target is not None and load_target(target).name != found_board.target:
        raise InputError(
            f"board '{found_board.name}' has another processor",
            expected=f"--target {found_board.target}",
            found=f"--target {target}",
            hint="leave --target out: the board implies it",
        )
    return load_target(found_board.target), found_board
