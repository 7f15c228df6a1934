"""``utvm boards``: the boards that utvm knows, with their memories, and what works from here.

In: nothing. Out: a table, or one JSON object with the list.
Facts come from the board files, what can be run from ``driver.boards``.
"""

from __future__ import annotations

from dataclasses import asdict

import click

from utvm.cli.command import EXIT_OK, print_json, reporting
from utvm.cli.output import plain_table, size, stdout_console
from utvm.driver.boards import BoardState, all_boards
from utvm.target.board import Board


@click.command("boards")
@reporting
def command(as_json: bool) -> int:
    """List the boards that utvm knows."""
    states = all_boards()
    if as_json:
        print_json({"boards": [_json(state) for state in states]})
        return EXIT_OK
    headings = ("board", "what", "target", "flash", "RAM", "by", "from here")
    table = plain_table(*headings, right=("flash", "RAM"))
    for state in states:
        board = state.board
        sizes = [_size(board, kind) for kind in ("flash", "ram")]
        by = board.probe or board.run
        table.add_row(board.name, board.title, board.target, *sizes, by, state.detail)
    stdout_console().print(table)
    return EXIT_OK


def _size(board: Board, kind: str) -> str:
    return size(board.memory(kind).size_bytes) if board.memories else "-"


def _json(state: BoardState) -> dict[str, object]:
    board, uart = state.board, state.board.uart
    return {
        "name": board.name,
        "title": board.title,
        "source": board.source,
        "target": board.target,
        "run": board.run,
        "runs_here": state.runs,
        "detail": state.detail,
        "clock_hz": board.clock_hz or None,
        "stack_bytes": board.stack_bytes,
        "qemu_machine": board.qemu_machine or None,
        "probe": board.probe or None,
        "flash_command": list(board.flash_command) or None,
        "uart": None if uart is None else asdict(uart),
        "memories": [asdict(memory) for memory in board.memories],
    }
