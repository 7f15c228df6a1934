"""What an operator is: the ``Op`` record that every file of this folder fills in.

One file holds one operator (or one family of the same shape, such as the elementwise ones): typed
attributes, the type rule, a NumPy reference exact to the bit, and its meaning in loop IR, either
``compute`` (one output element as an expression: elementwise and data-movement operators) or
``define`` (a loop nest). An operator that has only ``legalize`` is composite: it is rewritten into
others before lowering.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from utvm.ir.graph import Attrs, Node, TensorType
from utvm.ir.loop import Expr, Stmt
from utvm.op.definition import Definition, Element
from utvm.support.errors import ModelError

Arrays = Sequence[np.ndarray]
Types = Sequence[TensorType]


@dataclass(frozen=True)
class NoAttrs(Attrs):
    """For operators without attributes."""


@dataclass(frozen=True)
class Op:
    """An operator, as data and functions. See CONTRIBUTING.md, "Add an operator".

    ``infer(inputs, attrs)`` gives the result types or raises ModelError. For a quantized node only
    the shapes count: its element types are what the model declares. ``reference(inputs, attrs)`` is
    the exact meaning of a plain (not quantized) node. ``legalize(builder, node)``, with a
    ``GraphBuilder``, returns the names of replacement values, or None to keep the node.
    ``elementwise``: output element i needs only element i (after broadcasting) of each input, so
    the operator can be fused behind another and may work in place. ``macs(inputs, outputs)`` counts
    multiply-accumulates. ``operands`` names the inputs; constants are called so in C. ``tables``
    are the operands of an elementwise operator that are read at computed positions.
    """

    name: str
    attrs: type[Attrs]
    infer: Callable[[Types, Any], tuple[TensorType, ...]]
    reference: Callable[[Arrays, Any], tuple[np.ndarray, ...]] | None = None
    compute: Callable[[Element], Expr] | None = None
    define: Callable[[Definition], tuple[Stmt, ...]] | None = None
    legalize: Callable[[Any, Node], tuple[str, ...] | None] | None = None
    elementwise: bool = False
    macs: Callable[[Types, Types], int] | None = None
    operands: tuple[str, ...] = ()
    tables: tuple[int, ...] = ()


def expect(condition: bool, what: str, expected: str = "", found: object = "") -> None:
    """Raises ModelError unless ``condition`` holds; for type rules."""
    if not condition:
        raise ModelError(what, expected=expected, found=str(found) if found != "" else "")


def expect_inputs(inputs: Types, least: int, most: int | None = None) -> None:
    """Checks the number of operands."""
    most = least if most is None else most
    wanted = str(least) if least == most else f"{least} to {most}"
    expect(least <= len(inputs) <= most, "wrong number of operands", wanted, len(inputs))


def broadcast_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The common shape by NumPy's rules, or ModelError."""
    try:
        return tuple(int(n) for n in np.broadcast_shapes(*shapes))
    except ValueError:
        raise ModelError("shapes cannot be broadcast together", found=str(shapes)) from None
