"""Literals and lists of the text forms: numbers, strings, nested lists, ``name=literal`` pairs.

The parsers of both IRs build on ``LiteralParser``. In: a ``Scanner``. Out: Python values, lists as
tuples. Depth and digits are limited, since the text may come from a stranger.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from utvm.ir.attributes import Literal
from utvm.ir.scan import Scanner

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
