"""The boards that utvm knows, and what can be done with each from this computer.

In: nothing. Out: one ``BoardState`` per board. A board that is run by a program of its own counts
as runnable when that program is installed; nothing is started.
"""

from __future__ import annotations

from dataclasses import dataclass

from utvm.device.qemu import find_qemu
from utvm.support.errors import ToolchainError
from utvm.target.board import Board, list_boards, load_board
from utvm.target.target import load_target


@dataclass(frozen=True)
class BoardState:
    """``runs`` is whether ``utvm run`` works; ``detail`` says in a few words why not."""

    board: Board
    runs: bool
    detail: str


def all_boards() -> list[BoardState]:
    """Every board that comes with utvm, by name."""
    return [board_state(load_board(name)) for name in list_boards()]


def board_state(board: Board) -> BoardState:
    """What can be done with ``board`` here."""
    if board.run == "probe":
        ways = [name for name in ("openocd", "pyocd") if getattr(board.debug, name)]
        detail = f"connected: by {', '.join(ways)}" if ways else "compiles; no transport yet"
        return BoardState(board, False, detail)
    if board.run == "qemu":
        try:
            find_qemu(load_target(board.target))
        except ToolchainError as error:
            return BoardState(board, False, f"compiles; {error.what}")
    return BoardState(board, True, "runs")
