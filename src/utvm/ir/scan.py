"""Splitting the text forms into tokens, with the place of every token for errors.

In: the text of a graph or a loop module, which may come from a stranger. Out: a ``Scanner`` that
hands out one ``Token`` at a time and raises ModelError with line and column. White space and
comments (``#`` to the end of the line) separate tokens and mean nothing else. The text's size is
limited; nothing here recurses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from utvm.support.errors import ModelError
from utvm.support.text import printable

MAX_TEXT = 1 << 24
"""Characters. Constants of any size come in a separate file of arrays, so the text stays small."""

_SKIP = re.compile(r"(?:\s++|#[^\n]*+)*+")
_TOKEN = re.compile(
    r"(?P<value>%[A-Za-z0-9_]+)"
    r"|(?P<label>@[A-Za-z0-9_]+)"
    r'|(?P<string>"(?:[^"\\\n]|\\.)*")'
    r"|(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<symbol>->|\.\.|<<|>>|<=|>=|==|!=|[-(){}\[\],:=.+*/%&|^<>])"
)


@dataclass(frozen=True)
class Token:
    """A piece of text and where it starts. ``kind`` is "end" behind the last one."""

    kind: str
    text: str
    start: int


class Scanner:
    """Hands out tokens; ``file`` is what errors call the text."""

    def __init__(self, text: str, file: str) -> None:
        if len(text) > MAX_TEXT:
            raise ModelError(
                "the text is too large",
                where=file,
                expected=f"at most {MAX_TEXT} characters",
                found=str(len(text)),
                hint="give large constants in the file of arrays",
            )
        self._text = text
        self.file = file
        self._end = 0
        self._next = self._scan(0)

    def _scan(self, at: int) -> Token:
        skipped = _SKIP.match(self._text, at)
        start = skipped.end() if skipped else at
        if start == len(self._text):
            return Token("end", "", start)
        found = _TOKEN.match(self._text, start)
        if found is None or found.lastgroup is None:
            token = Token("symbol", self._text[start], start)
            self.fail("this character has no meaning here", token)
        return Token(found.lastgroup, found.group(), start)

    def peek(self) -> Token:
        """The next token, which stays the next one."""
        return self._next

    def take(self) -> Token:
        """The next token; the one behind it becomes the next."""
        token = self._next
        self._end = token.start + len(token.text)
        self._next = self._scan(self._end)
        return token

    def adjacent(self) -> bool:
        """Whether the next token follows the one before without a space."""
        return self._next.start == self._end

    def at(self, text: str) -> bool:
        """Whether the next token is this symbol or word."""
        return self._next.text == text and self._next.kind in ("symbol", "word")

    def accept(self, text: str) -> bool:
        """Takes the next token if it is this symbol or word."""
        if self.at(text):
            self.take()
            return True
        return False

    def expect(self, text: str, hint: str = "") -> Token:
        """Takes this symbol or word; anything else is an error."""
        if not self.at(text):
            self.fail("unexpected text", expected=f'"{text}"', hint=hint)
        return self.take()

    def expect_kind(self, kind: str, expected: str) -> Token:
        """Takes a token of a kind, described as ``expected``."""
        if self._next.kind != kind:
            self.fail("unexpected text", expected=expected)
        return self.take()

    def where(self, token: Token | None = None) -> str:
        """``file:line:column`` of a token, by default the next one."""
        start = (token or self._next).start
        line = self._text.count("\n", 0, start) + 1
        column = start - self._text.rfind("\n", 0, start)
        return f"{self.file}:{line}:{column}"

    def fail(
        self,
        what: str,
        token: Token | None = None,
        *,
        expected: str = "",
        found: str = "",
        hint: str = "",
    ) -> NoReturn:
        """Raises ModelError at a token, by default the next one."""
        token = token or self._next
        if not found:
            found = f'"{printable(token.text)}"' if token.kind != "end" else "the end of the text"
        raise ModelError(what, where=self.where(token), expected=expected, found=found, hint=hint)
