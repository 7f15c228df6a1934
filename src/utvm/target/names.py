"""Looking up a target or a board by its name.

In goes the name that a person typed and the names there are; for an unknown name out comes an
``InputError`` that lists them and points at the nearest.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from utvm.support.errors import InputError
from utvm.support.text import printable


def unknown_name(kind: str, name: str, known: Sequence[str]) -> InputError:
    """The error for ``name``, which is no ``kind`` ('target' or 'board') that we know."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return InputError(
        f"unknown {kind} '{printable(name)}'",
        expected=f"one of {', '.join(known)}",
        hint=f"did you mean '{near[0]}'?" if near else "",
    )
