"""The record of a schedule: every primitive notes itself on the function that it returns.

``primitive`` wraps a rewrite of a function; what the rewrite itself does by other primitives is
part of it and not noted. Nothing reads the notes but ``trace``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Concatenate, ParamSpec

from utvm.ir.loop import Function, Step

P = ParamSpec("P")
Rewrite = Callable[Concatenate[Function, P], Function]


def primitive(rewrite: Rewrite[P]) -> Rewrite[P]:
    """The rewrite, with a note of its arguments."""

    @wraps(rewrite)
    def noted(function: Function, /, *args: P.args, **kwargs: P.kwargs) -> Function:
        changed = rewrite(function, *args, **kwargs)
        step = Step(rewrite.__name__, (*args, *kwargs.values()))
        return replace(changed, steps=(*function.steps, step))

    return noted
