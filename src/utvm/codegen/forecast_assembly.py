"""Assembled micro functions as structured text: straight lines, loops and choices.

In: the C text that the back end made of a micro function, and the function's loop IR. Out: a tree
in which every straight line holds the instructions as the pipeline's rules see them, and every loop
and choice points at its statement, which knows how often it runs. Text and statements are walked
side by side: a loop's label names its variable, a choice begins with a jump forward. A text of
another shape gives None.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from utvm.codegen.thumb.ops import (
    ALU,
    BRANCH,
    EXTEND,
    LOAD,
    MULTIPLY,
    NARROW,
    SATURATE,
    SIMPLE,
    STORE,
)
from utvm.codegen.thumb.pricing import OTHER, Part
from utvm.ir.loop import For, If, Imm, Stmt
from utvm.ir.rewrite import linear

MULTIPLE = "multiple"
"""Several words between memory and registers at once; ``words`` says how many."""
FLOAT, FLOAT_MAC, FLOAT_DIVIDE = "float", "float mac", "float divide"
FLOAT_LOAD, FLOAT_STORE = "float load", "float store"


@dataclass(frozen=True)
class Line:
    """One instruction. ``words``: what a push or pop moves; ``cond``: of a jump that may fall."""

    part: Part
    words: int = 0
    target: str = ""
    cond: bool = False


@dataclass(frozen=True)
class Straight:
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Loop:
    """Runs ``body`` as often as ``stmt`` says; the last line of the body jumps back."""

    stmt: For
    body: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """Runs ``then`` or ``orelse``; ``then`` begins behind a jump that is not taken."""

    stmt: If
    then: tuple[Node, ...]
    orelse: tuple[Node, ...]


Node = Straight | Loop | Choice


class ShapeError(Exception):
    """The text is not what its loop IR leads one to expect."""


_LINE = re.compile(r'^ *"  ([^".\\][^"\\]*)\\n"')
_SHORT_JUMP = re.compile(r'^ *"  b\w\w ([12])f\\n"')
_LABEL = re.compile(r'^ *"(\.L\w+):\\n"\)?;? *(?:/\* for (\w+))?')
_REGISTERS = {f"r{n}": n for n in range(16)} | {"sp": 13, "lr": 14, "pc": 15}
_REGISTERS |= {f"s{n}": 16 + n for n in range(32)}
_NAME = re.compile(r"[a-z]+\d*")
_SHIFTS = ("lsl", "lsr", "asr", "ror")
_MAC = re.compile(r"mla|mls|smml[as]r?|smla\w+|smls\w+|[us]mlal")
_MULTIPLY = re.compile(r"mul|smul\w+|smmulr?|smu[as]dx?|[us]mull")
_EXTEND = re.compile(r"[us]h?(add|sub)(8|16)|pkh(bt|tb)|[su]xt(a?[bh]|a?b16)|sel")
_SATURATE = re.compile(r"[us]sat(16)?|qd?(add|sub)|u?q(add|sub)(8|16)")
_BITS = ("ubfx", "sbfx", "rev", "rev16", "rbit")
_SIMPLE = ("add", "sub", "mov", "movw", "lsl", "lsr", "asr")
_SET_FLAGS = re.compile(r"(add|sub|mov|lsl|lsr|asr|rsb|and|orr|eor|bic|mul)s")
_JUMP = re.compile(r"b(eq|ne|hs|lo|mi|pl|hi|ls|ge|lt|gt|le)?")
_MOVED = re.compile(r"mov(eq|ne|hs|lo|hi|ls|ge|lt|gt|le)")


def read_assembly(text: str, body: tuple[Stmt, ...]) -> tuple[Node, ...] | None:
    """The tree of a micro function's text; None where text and loop IR do not match."""
    reader = _Reader(list(_entries(text.split("\n"))))
    try:
        nodes = reader.body(body)
        return (*nodes, *reader.rest())
    except ShapeError:
        return None


@dataclass(frozen=True)
class _Label:
    name: str
    var: str


def _entries(lines: Sequence[str]) -> Iterator[Line | _Label]:
    """The instructions and labels. Jumps over a few instructions are taken as a rule: over a branch
    that reaches further, by those that leave a loop; else over what saturates."""
    skipped, conditional = "", False
    for text in lines:
        jump = _SHORT_JUMP.match(text)
        if jump:
            yield Line(_part(OTHER))
            skipped, conditional = ("1", False) if jump[1] == "1" else ("", True)
            if skipped:
                yield Line(_part(OTHER))
        elif skipped:
            skipped = "" if text.strip().startswith(f'"{skipped}:') else skipped
        else:
            entry = _entry(text)
            if isinstance(entry, Line) and entry.target:
                entry, conditional = replace(entry, cond=entry.cond or conditional), False
            if entry is not None:
                yield entry


def _entry(text: str) -> Line | _Label | None:
    label = _LABEL.match(text)
    if label:
        return _Label(label[1], label[2] or "")
    line = _LINE.match(text)
    return None if line is None else parse_line(line[1].strip())


class _Reader:
    """Goes through the text from top to bottom."""

    def __init__(self, entries: Sequence[Line | _Label]) -> None:
        self.entries = entries
        self.at = 0

    def body(self, body: tuple[Stmt, ...]) -> list[Node]:
        """The text up to the end of the last loop or choice among the statements."""
        nodes: list[Node] = []
        for stmt in body:
            if isinstance(stmt, If):
                nodes += self._choice(stmt)
            elif isinstance(stmt, For):
                rounds = fixed_rounds(stmt)
                if rounds is None or rounds > 1:
                    nodes += self._loop(stmt)
                elif rounds == 1:
                    nodes += self.body(stmt.body)
        return nodes

    def _loop(self, stmt: For) -> list[Node]:
        before, label = self._until(lambda e: isinstance(e, _Label) and bool(e.var))
        assert isinstance(label, _Label)
        if label.var != stmt.var.name:
            raise ShapeError(label.var)
        inner = self.body(stmt.body)
        last, end = self._until(lambda e: isinstance(e, Line) and e.target == label.name)
        assert isinstance(end, Line)
        return [*before, Loop(stmt, (*inner, *_joined(last, end)))]

    def _choice(self, stmt: If) -> list[Node]:
        before, jump = self._until(lambda e: isinstance(e, Line) and e.cond)
        assert isinstance(jump, Line)
        then = self.body(stmt.then)
        orelse: list[Node] = []
        if stmt.orelse:
            last, over = self._until(lambda e: isinstance(e, Line) and bool(e.target))
            assert isinstance(over, Line)
            then += _joined(last, over)
            self._label(jump.target)
            orelse = self.body(stmt.orelse)
            orelse += self._label(over.target)
        else:
            then += self._label(jump.target)
        return [*_joined(before, jump), Choice(stmt, tuple(then), tuple(orelse))]

    def _label(self, name: str) -> list[Node]:
        return self._until(lambda e: isinstance(e, _Label) and e.name == name)[0]

    def _until(self, found: object) -> tuple[list[Node], Line | _Label]:
        """What stands before the next entry that is asked for, and this entry."""
        assert callable(found)
        lines: list[Line] = []
        while self.at < len(self.entries):
            entry = self.entries[self.at]
            self.at += 1
            if found(entry):
                return _straight(lines), entry
            if isinstance(entry, Line):
                lines.append(entry)
            elif entry.var:
                raise ShapeError(entry.var)
        raise ShapeError("the text ends early")

    def rest(self) -> list[Node]:
        lines: list[Line] = []
        for entry in self.entries[self.at :]:
            if isinstance(entry, Line):
                lines.append(entry)
            elif entry.var:
                raise ShapeError(entry.var)
        return _straight(lines)


def _straight(lines: list[Line]) -> list[Node]:
    return [Straight(tuple(lines))] if lines else []


def _joined(before: list[Node], last: Line) -> list[Node]:
    """Nodes of ``_until`` with the entry that ended them."""
    lines = before[0].lines if before and isinstance(before[0], Straight) else ()
    return [Straight((*lines, last))]


def fixed_rounds(stmt: For) -> int | None:
    """How often a loop runs where its bounds differ by a constant."""
    start, stop = linear(stmt.start), linear(stmt.stop)
    if isinstance(stmt.start, Imm) and isinstance(stmt.stop, Imm):
        extent = int(stmt.stop.value) - int(stmt.start.value)
    elif start is not None and stop is not None and start.terms == stop.terms:
        extent = stop.constant - start.constant
    else:
        return None
    return max(0, -(-extent // stmt.step))


def parse_line(text: str) -> Line:
    """One instruction as the rules of the pipeline see it."""
    name, _, operands = text.partition(" ")
    name = name[:-1] if _SET_FLAGS.fullmatch(name) else name
    if "{" in operands:
        moved = registers_of(operands.partition("{")[2])
        writes = moved if name.startswith(("pop", "ldm", "vpop", "vldm")) else ()
        return Line(_part(MULTIPLE, defs=writes), words=len(moved), target="")
    if name == "it" or name.startswith("itt") or name.startswith("ite") or name == "nop":
        return Line(_part(OTHER))
    if name == "bx" or _JUMP.fullmatch(name):
        jumps = name != "bx"
        part = _part(BRANCH, branches=True)
        return Line(part, target=operands if jumps else "", cond=jumps and name != "b")
    if "[" in operands:
        return _memory(name, operands)
    if name.startswith("v"):
        return Line(_float(name, operands))
    return Line(_data(name, operands))


def registers_of(text: str) -> tuple[int, ...]:
    """Every register named, in order; of a list, each one."""
    return tuple(_REGISTERS[word] for word in _NAME.findall(text) if word in _REGISTERS)


def _part(
    kind: str,
    defs: tuple[int, ...] = (),
    sources: tuple[int, ...] = (),
    shifted: tuple[int, ...] = (),
    accumulator: tuple[int, ...] = (),
    branches: bool = False,
) -> Part:
    return Part(kind, defs, None, (), sources, shifted, accumulator, (), branches=branches)


def _memory(name: str, operands: str) -> Line:
    before, _, rest = operands.partition("[")
    inside, _, after = rest.partition("]")
    moved, address = registers_of(before), registers_of(inside)
    stores = name.startswith(("str", "vstr"))
    offset = re.search(r"#(-?\d+)", inside)
    kind = STORE if stores else LOAD if name == "ldr" else NARROW
    if name.startswith("v"):
        kind = FLOAT_STORE if stores else FLOAT_LOAD
    words = len(moved)
    part = Part(
        kind=kind if words == 1 else MULTIPLE,
        defs=() if stores else moved,
        moved=address[0] if after.strip(" ,") else None,
        address=address,
        sources=(),
        shifted=(),
        accumulator=(),
        data=moved if stores else (),
        bank=None if len(address) > 1 else int(offset[1]) if offset else 0,
        scaled=len(address) > 1,
    )
    return Line(part, words=words if words > 1 else 0)


def _float(name: str, operands: str) -> Part:
    stem = name.partition(".")[0]
    named = registers_of(operands)
    if stem in ("vdiv", "vsqrt"):
        return _part(FLOAT_DIVIDE, named[:1], named[1:])
    if stem in ("vfma", "vfms", "vmla", "vmls"):
        return _part(FLOAT_MAC, named[:1], named[1:], accumulator=named[:1])
    return _part(FLOAT, named[:1], named[1:])


def _data(name: str, operands: str) -> Part:
    parts = operands.split(", ")
    shifted = parts[-1].startswith(_SHIFTS)
    named = registers_of(", ".join(parts[: len(parts) - shifted]))
    if name in ("cmp", "cmn", "tst"):
        return _part(ALU, (), named)
    if name in ("smull", "umull"):
        return _part(MULTIPLY, named[:2], named[2:])
    if name in ("smlal", "umlal"):
        return _part(MULTIPLY, named[:2], named[2:], accumulator=named[:2])
    defs, sources = named[:1], named[1:]
    if _MAC.fullmatch(name):
        return _part(MULTIPLY, defs, sources[:2], accumulator=sources[2:])
    if _MULTIPLY.fullmatch(name):
        return _part(MULTIPLY, defs, sources)
    if name == "movt":
        return _part(ALU, defs, (), defs)
    if "sat" in name or name in _BITS:
        return _part(SATURATE if "sat" in name else ALU, defs, (), sources)
    extends = bool(_EXTEND.fullmatch(name))
    kind = SATURATE if _SATURATE.fullmatch(name) else EXTEND if extends else ALU
    simple = (name in _SIMPLE or _MOVED.fullmatch(name)) and not shifted
    late = (shifted and not name.startswith(("sxt", "uxt"))) or name.startswith(("sxta", "pkh"))
    kind = SIMPLE if simple else kind
    return _part(kind, defs, sources[:-1], sources[-1:]) if late else _part(kind, defs, sources)
