"""Where lines of generated C break: what clang-format accepts unchanged under .clang-format.

In: pieces of C text. Out: lines of at most WIDTH columns. Only argument lists and comments are ever
broken here; long expressions are made short before they are printed (``c_shorten``), because
clang-format breaks those by weighing penalties, which is not worth imitating.
"""

from __future__ import annotations

import textwrap

from utvm.support.text import printable

INDENT = "  "
WIDTH = 100
COMMENT_LIMIT = 600
CALL, PROTOTYPE = 2, 4
"""How many lines it must save to move all arguments below the name, in calls and in prototypes."""


def wrap_arguments(
    head: str, arguments: list[str], tail: str, pad: str, worth: int = PROTOTYPE
) -> str:
    """``head(a, b)tail``, continued under the first argument, or below the name if that is shorter.

    ``head`` ends with the parenthesis. ``worth`` is CALL or PROTOTYPE.
    """
    start = pad + head
    aligned = _packed(start, len(start), arguments, tail)
    hanging = _packed(f"{pad}{INDENT * 2}", len(pad) + 4, arguments, tail)
    too_wide = any(len(line) > WIDTH for line in aligned)
    if too_wide or len(aligned) - len(hanging) >= worth:
        return "\n".join([start, *hanging])
    return "\n".join(aligned)


def _packed(line: str, indent: int, arguments: list[str], tail: str) -> list[str]:
    """As many arguments per line as fit; the first follows ``line``."""
    lines: list[str] = []
    for i, argument in enumerate(arguments):
        piece = argument + (tail if i == len(arguments) - 1 else ",")
        if i == 0:
            line += piece
        elif len(line) + 1 + len(piece) > WIDTH:
            lines.append(line)
            line = " " * indent + piece
        else:
            line += f" {piece}"
    return [*lines, line]


def assignment(pad: str, head: str, value: str) -> list[str]:
    """``head = value;`` on one line, or on two if it does not fit on one.

    ``head`` ends with the operator. The value has ``value_room(pad)`` columns.
    """
    line = f"{pad}{head} {value};"
    return [line] if len(line) <= WIDTH else [f"{pad}{head}", f"{pad}{INDENT * 2}{value};"]


def value_room(pad: str) -> int:
    """The columns of a value on a line of its own."""
    return WIDTH - len(pad) - len(INDENT * 2) - 1


def comment(lines: tuple[str, ...], pad: str = "") -> list[str]:
    """A block comment; what it says is made harmless, long lines are continued indented."""
    wrapped: list[str] = []
    for line in lines:
        safe = printable(line, COMMENT_LIMIT)
        wrapped += textwrap.wrap(
            safe, WIDTH - len(pad) - 6, subsequent_indent="    ", break_on_hyphens=False
        )
    marked = [f"{pad}{'/*' if i == 0 else ' *'} {line}" for i, line in enumerate(wrapped)]
    return [*marked[:-1], f"{marked[-1]} */"] if marked else []
