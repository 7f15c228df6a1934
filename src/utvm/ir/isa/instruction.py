"""What utvm knows of a hardware instruction, as data: its meaning, twice, and its texts.

An ``Instruction`` is an intrinsic of the loop IR: schedules call it by name. Everything that deals
with it reads it here: the verifier its operands, ``tensorize`` its body, the header ``utvm/simd.h``
its C, the back end its text and kind, the tests its meaning. A ``Pattern`` is an instruction that
needs no name, because compilers and the back end find it in ordinary expressions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SOURCE, SHIFTED, ACCUMULATOR = "source", "shifted", "accumulator"
ONE, TWO, THREE = " {d}, {a}", " {d}, {a}, {b}", " {d}, {a}, {b}, {c}"
"""Operands of instructions that take so many."""


@dataclass(frozen=True)
class Instruction:
    """A pure function of words, and the instruction that computes it.

    ``meaning`` is exact for all words; its parameters name the operands, its docstring says it in
    words. ``c`` is the same in portable C: an expression, or with ``c_lanes`` one of lane ``i``.
    ``text`` is the instruction: ``{d}`` the result, ``{a}``, ``{b}``, ``{c}`` the operands in
    order. ``kind`` is its class for timing and ``roles`` what each operand is for, both as the
    table of the back end has them. ``feature`` is what a target must have. ``body`` is what it does
    as a loop nest over the elements of its operands, which bear the operands' names; the result is
    ``d``, or the accumulator ``acc``. It is empty where no loop is of that form. With ``dtype``
    float32, operands and result are floats, ``acc`` is also the result, and ``c`` is statements.
    """

    meaning: Callable[..., Any]
    c: str
    text: str
    kind: str
    body: str = ""
    c_lanes: int = 1
    roles: tuple[str, ...] = ()
    feature: str = "dsp"
    dtype: str = "int32"

    @property
    def name(self) -> str:
        return self.meaning.__name__

    @property
    def operands(self) -> tuple[str, ...]:
        return tuple(inspect.signature(self.meaning).parameters)

    @property
    def about(self) -> str:
        return str(self.meaning.__doc__)

    @property
    def uses(self) -> tuple[str, ...]:
        """What each operand is for."""
        return self.roles or tuple(
            ACCUMULATOR if name == "acc" else SOURCE for name in self.operands
        )


def instruction(
    c: str,
    text: str,
    kind: str,
    body: str = "",
    c_lanes: int = 1,
    roles: tuple[str, ...] = (),
    feature: str = "dsp",
) -> Callable[[Callable[..., int]], Instruction]:
    """Makes a meaning an instruction; the parameters are the fields of ``Instruction``."""

    def make(meaning: Callable[..., int]) -> Instruction:
        return Instruction(meaning, c, text, kind, body, c_lanes, roles, feature)

    return make


@dataclass(frozen=True)
class Pattern:
    """``body`` computes ``d`` from its operands; ``mnemonic`` is what it may become."""

    mnemonic: str
    body: str

    @property
    def title(self) -> str:
        """The mnemonic, and what stands right of the first ``=`` in the body."""
        return f"{self.mnemonic}: {self.body.partition('=')[2].strip().splitlines()[0]}"
