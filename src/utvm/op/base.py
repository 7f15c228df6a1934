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

from utvm.ir.dtype import DType
from utvm.ir.graph import Attrs, Node, TensorType
from utvm.ir.loop import Expr, Stmt
from utvm.ir.verify_graph import Data
from utvm.op.channels import ChannelRule
from utvm.op.definition import Definition, Element
from utvm.op.ranges import Ranges
from utvm.support.errors import ModelError

Arrays = Sequence[np.ndarray]
Types = Sequence[TensorType]
Constants = Sequence[Data]


@dataclass(frozen=True)
class NoAttrs(Attrs):
    """For operators without attributes."""


@dataclass(frozen=True)
class Op:
    """An operator, as data and functions. See CONTRIBUTING.md, "Add an operator".

    ``infer(inputs, attrs)`` gives the result types or raises ModelError. For a quantized node only
    the shapes count: its element types are what the model declares. ``check(inputs, data, attrs)``
    refuses a plain node whose element types or constants (None for other operands) the definition
    does not cover: generated C would be undefined for them. ``reference(inputs, attrs)`` is
    the exact meaning of a plain (not quantized) node. ``legalize(builder, node)``, with a
    ``GraphBuilder``, returns the names of replacement values, or None to keep the node.
    ``elementwise``: output element i needs only element i (after broadcasting) of each input, so
    the operator can be fused behind another and may work in place. ``macs(inputs, outputs)`` counts
    multiply-accumulates. ``operands`` names the inputs; constants are called so in C. ``tables``
    are the operands of an elementwise operator that are read at computed positions. ``ranges`` and
    ``channels`` are what analyses know: the integers that can result, and which channels belong
    together (see ``ranges`` and ``channels``); without them nothing is known.
    """

    name: str
    attrs: type[Attrs]
    infer: Callable[[Types, Any], tuple[TensorType, ...]]
    check: Callable[[Types, Constants, Any], None] | None = None
    reference: Callable[[Arrays, Any], tuple[np.ndarray, ...]] | None = None
    compute: Callable[[Element], Expr] | None = None
    define: Callable[[Definition], tuple[Stmt, ...]] | None = None
    legalize: Callable[[Any, Node], tuple[str, ...] | None] | None = None
    elementwise: bool = False
    macs: Callable[[Types, Types], int] | None = None
    operands: tuple[str, ...] = ()
    tables: tuple[int, ...] = ()
    ranges: Ranges | None = None
    channels: ChannelRule | None = None


def expect(condition: bool, what: str, expected: str = "", found: object = "") -> None:
    """Raises ModelError unless ``condition`` holds; for type rules."""
    if not condition:
        raise ModelError(what, expected=expected, found=str(found) if found != "" else "")


def expect_range(what: str, value: float, low: float, high: float) -> None:
    """Checks a number, which may be nan."""
    expect(low <= value <= high, f"{what} is out of range", f"{low} to {high}", value)


def expect_float32(what: str, value: float) -> None:
    """Checks that a number is finite as a float32."""
    largest = float(np.finfo(np.float32).max)
    expect(-largest <= value <= largest, f"{what} is not a finite float32", found=value)


def expect_factor(multiplier: int, shift: int) -> None:
    """Checks a fixed-point factor: multiplier * 2^(shift - 31)."""
    expect_range("the multiplier", multiplier, 0, (1 << 31) - 1)
    expect_range("the shift", shift, -31, 30)


_NARROW = ("int8", "uint8", "int16", "uint16", "int32")


def narrow_type(name: str, low: int, high: int) -> DType:
    """The integer type of results in ``low..high``: what fits an int32."""
    expect(name in _NARROW, "wrong element type of the result", ", ".join(_NARROW), name)
    dtype = DType(name)
    expect_range("the least result", low, dtype.minimum, dtype.maximum)
    expect_range("the greatest result", high, dtype.minimum, dtype.maximum)
    return dtype


def expect_zero_point(zero_point: int, dtype: DType) -> None:
    """Checks a result's zero point; int32 has none."""
    narrow = dtype.bits < 32
    low, high = (dtype.minimum, dtype.maximum) if narrow else (0, 0)
    expect_range("the zero point", zero_point, low, high)


def constant_operand(data: Data, what: str) -> np.ndarray:
    """The data of an operand that must be a constant."""
    if data is None:
        raise ModelError(f"{what} must be constants")
    return data


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
