"""What the text forms of both IRs share: lists, literals, types and the data of constants.

``LiteralParser`` reads numbers, strings, nested lists and ``name=literal`` pairs as Python values;
``TypeParser`` adds tensor types and constants. In: a ``Scanner``. Depth, digits and sizes are
limited, since the text may come from a stranger.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from utvm.ir.attributes import Literal
from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.ir.scan import Scanner, Token
from utvm.support.text import printable

MAX_DIGITS = 40
MAX_DEPTH = 8
T = TypeVar("T")


@dataclass
class LiteralParser:
    """Reads literals from ``scan``."""

    scan: Scanner

    def items(self, opening: str, closing: str, item: Callable[[], T]) -> list[T]:
        """Items between brackets, separated by commas."""
        self.scan.expect(opening)
        found: list[T] = []
        if self.scan.accept(closing):
            return found
        while True:
            found.append(item())
            if not self.scan.accept(","):
                break
        self.scan.expect(closing)
        return found

    def fields(self, opening: str, closing: str) -> dict[str, Literal]:
        """``name=literal`` pairs between brackets."""
        fields: dict[str, Literal] = {}

        def pair() -> None:
            token = self.scan.expect_kind("word", "a name, as name=value")
            if token.text in fields:
                self.scan.fail("the name appears twice", token)
            self.scan.expect("=")
            fields[token.text] = self.literal()

        self.items(opening, closing, pair)
        return fields

    def literal(self, depth: int = 0) -> Literal:
        """One literal; lists become tuples."""
        scan = self.scan
        token = scan.peek()
        if depth > MAX_DEPTH:
            scan.fail("lists are nested too deeply", expected=f"at most {MAX_DEPTH} levels")
        if scan.at("["):
            return tuple(self.items("[", "]", lambda: self.literal(depth + 1)))
        if token.kind == "string":
            return self.string()
        words: dict[str, Literal] = {"true": True, "false": False, "none": None}
        if token.kind == "word" and token.text in words:
            scan.take()
            return words[token.text]
        return self.number()

    def string(self) -> str:
        """A text in double quotes, with the escapes of JSON."""
        token = self.scan.expect_kind("string", "a text in double quotes")
        try:
            return str(json.loads(token.text))
        except ValueError:
            self.scan.fail("the text has a wrong escape", token, expected="escapes as in JSON")

    def number(self) -> int | float:
        """An integer, or a float if it has a point, an exponent, or no end."""
        scan = self.scan
        sign = -1 if scan.accept("-") else 1
        if scan.at("inf") or scan.at("nan"):
            return sign * float(scan.take().text)
        token = scan.expect_kind("number", "a number")
        if len(token.text) > MAX_DIGITS:
            scan.fail("the number has too many digits", token, expected=f"at most {MAX_DIGITS}")
        return sign * (int(token.text) if token.text.isdigit() else float(token.text))

    def integer(self) -> int:
        """A whole number without a sign."""
        token = self.scan.expect_kind("number", "a whole number")
        if not token.text.isdigit() or len(token.text) > MAX_DIGITS:
            self.scan.fail("this is not a whole number", token, expected="a whole number")
        return int(token.text)


@dataclass
class TypeParser(LiteralParser):
    """Reads tensor types and the elements of constants, too."""

    def element_type(self) -> DType:
        """``int8`` and the like."""
        token = self.scan.expect_kind("word", "an element type")
        known = {dtype.value: dtype for dtype in DType}
        if token.text not in known:
            self.scan.fail("unknown element type", token, expected=", ".join(known))
        return known[token.text]

    def tensor_type(self) -> TensorType:
        """``int8[1,32,32,3]``."""
        dtype = self.element_type()
        return TensorType(tuple(self.items("[", "]", self.integer)), dtype)

    def constant_data(
        self, token: Token, name: str, type: TensorType, params: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """The elements behind ``=``, or without them the array of this name."""
        if self.scan.accept("="):
            data = self._elements(token, type)
        else:
            data = self._parameter(token, name, type, params)
        data = np.ascontiguousarray(data).reshape(type.shape)
        data.setflags(write=False)
        return data

    def _elements(self, token: Token, type: TensorType) -> np.ndarray:
        """The elements that stand in the text, in row-major order."""
        numbers = self.items("[", "]", self.number)
        if len(numbers) != type.elements:
            self.scan.fail(
                "wrong number of elements",
                token,
                expected=f"{type.elements} for {type}",
                found=str(len(numbers)),
            )
        if type.dtype.is_float:
            with np.errstate(over="ignore"):  # a number beyond all floats is infinite
                return np.array([as_float(n) for n in numbers], np.float64).astype(np.float32)
        low, high = type.dtype.minimum, type.dtype.maximum
        for number in numbers:
            if not isinstance(number, int) or not low <= number <= high:
                self.scan.fail(
                    f"an element is not of type {type.dtype.value}",
                    token,
                    expected=f"an integer from {low} to {high}",
                    found=str(number),
                )
        return np.array(numbers, type.dtype.numpy)

    def _parameter(
        self, token: Token, name: str, type: TensorType, params: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        """The data of a constant that the text only declares."""
        if name not in params:
            known = ", ".join(printable(key) for key in list(params)[:12])
            self.scan.fail(
                "the constant has no data",
                token,
                expected=f"an array of this name: {known}" if known else "a file of arrays",
                hint="give the file with --params FILE.npz",
            )
        data = params[name]
        if tuple(data.shape) != type.shape or data.dtype != type.dtype.numpy:
            shape = ",".join(map(str, data.shape))
            self.scan.fail(
                "the array is not of the declared type",
                token,
                expected=str(type),
                found=f"{data.dtype.name}[{shape}]",
            )
        return data


def as_float(number: Literal) -> float:
    """A number as a double; one beyond all doubles is infinite."""
    assert isinstance(number, int | float)
    try:
        return float(number)
    except OverflowError:
        return math.copysign(math.inf, number)
