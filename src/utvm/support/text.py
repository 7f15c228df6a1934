"""Text that comes from a model, made safe to print and to use as a C identifier.

Names in a model file are untrusted: they may hold quotes, newlines, comment ends, path
separators or terminal escapes. ``printable`` is for people (errors, tables, C comments);
``identifier`` is for C and for file names. Both are deterministic and total.
"""

from __future__ import annotations

import re

_UNSAFE = re.compile(r"[^A-Za-z0-9_.:;,()\[\]{}<>=+\-@#%&!?|^~$ ]")
_NOT_IDENTIFIER = re.compile(r"[^A-Za-z0-9_]+")


def printable(text: str, limit: int = 60) -> str:
    """``text`` with everything but plain ASCII words replaced by ``_``, cut at ``limit``.

    Slashes, stars, quotes, backslashes and control characters never survive, so the result can
    stand in a C comment, on a terminal or in HTML text that escapes ``<`` and ``&``.
    """
    safe = _UNSAFE.sub("_", text).replace("??", "_")
    return safe if len(safe) <= limit else safe[: limit - 3] + "..."


def identifier(text: str, limit: int = 40) -> str:
    """A C identifier made from ``text``: lower case, never empty, never starting with a digit."""
    name = _NOT_IDENTIFIER.sub("_", text.lower()).strip("_")[:limit].rstrip("_")
    if not name or name[0].isdigit():
        name = f"t_{name}".rstrip("_")
    return name
