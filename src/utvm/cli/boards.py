"""``utvm boards``: the boards that utvm knows, with their memories.

In: nothing. Out: a table, or one JSON object with the list.
Everything comes from the board files.
"""

from __future__ import annotations

import click

from utvm.cli.command import EXIT_OK, print_json, reporting
from utvm.cli.output import plain_table, size, stdout_console
from utvm.target.board import Board, list_boards, load_board


@click.command("boards")
@reporting
def command(as_json: bool) -> int:
    """List the boards that utvm knows."""
    boards = [load_board(name) for name in list_boards()]
    if as_json:
        print_json({"boards": [_json(board) for board in boards]})
        return EXIT_OK
    table = plain_table(
        "board", "what", "target", "flash", "RAM", "runs on", right=("flash", "RAM")
    )
    for board in boards:
        sizes = [_size(board, kind) for kind in ("flash", "ram")]
        table.add_row(board.name, board.title, board.target, *sizes, board.run)
    stdout_console().print(table)
    return EXIT_OK


def _size(board: Board, kind: str) -> str:
    return size(board.memory(kind).size_bytes) if board.memories else "-"


def _json(board: Board) -> dict[str, object]:
    return {
        "name": board.name,
        "title": board.title,
        "target": board.target,
        "run": board.run,
        "clock_hz": board.clock_hz or None,
        "stack_bytes": board.stack_bytes,
        "qemu_machine": board.qemu_machine or None,
        "memories": [
            {"name": m.name, "kind": m.kind, "origin": m.origin, "size_bytes": m.size_bytes}
            for m in board.memories
        ],
    }
