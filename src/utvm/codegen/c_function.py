"""Loop IR functions as C99 functions.

In: a scheduled ``Function``. Out: the text of one C function with a comment that says which
operator it is. Parameters are the operands, the results and one workspace pointer; constant arrays
are reached by their global names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from utvm.codegen.c_expr import ExprPrinter
from utvm.ir.loop import (
    Alloc,
    Buffer,
    Comment,
    For,
    Function,
    If,
    Let,
    Stmt,
    Store,
    View,
)

INDENT = "  "
WIDTH = 100


class FunctionPrinter:
    """Prints one kernel. ``symbol`` is its C name, ``constants`` maps constant buffers to symbols.

    ``in_place`` says that an operand may share memory with the result, so nothing is ``restrict``.
    """

    def __init__(
        self, function: Function, symbol: str, constants: Mapping[str, str], in_place: bool
    ) -> None:
        self._function = function
        self._symbol = symbol
        self._restrict = "" if in_place else "restrict "
        self._names = dict(constants)
        for prefix, buffers in (("in", function.inputs), ("out", function.outputs)):
            for i, buffer in enumerate(buffers):
                self._names[buffer.name] = f"{prefix}{i}"
        self._expr = ExprPrinter(lambda buffer: self._names.get(buffer.name, buffer.name))

    def prototype(self) -> str:
        """The declaration without semicolon, wrapped as clang-format wraps it."""
        parameters = [self._parameter(b, "const ") for b in self._function.inputs]
        parameters += [self._parameter(b, "") for b in self._function.outputs]
        if self._function.workspace:
            parameters.append("void *workspace")
        head = f"void {self._symbol}("
        return wrap_arguments(head, parameters or ["void"], ")", "")

    def _parameter(self, buffer: Buffer, qualifier: str) -> str:
        return f"{qualifier}{buffer.dtype.c_name} *{self._restrict}{self._names[buffer.name]}"

    def definition(self) -> str:
        """The whole function."""
        comment = "\n".join(
            f"{'/*' if i == 0 else ' *'} {line}" for i, line in enumerate(self._function.comment)
        )
        lines = [f"{comment} */" if comment else "", self._open()]
        offset = 0
        for buffer in self._function.workspace:
            lines.append(self._workspace(buffer, offset))
            offset = aligned(offset + buffer.size_bytes)
        lines += self._body(self._function.body, 1)
        return "\n".join(line for line in [*lines, "}"] if line) + "\n"

    def _open(self) -> str:
        prototype = self.prototype()
        return f"{prototype} {{"

    def _workspace(self, buffer: Buffer, offset: int) -> str:
        at = f"(uint8_t *)workspace + {offset}" if offset else "workspace"
        value = f"(void *)({at})" if offset else at
        return f"{INDENT}{buffer.dtype.c_name} *const {buffer.name} = {value};"

    def _body(self, body: tuple[Stmt, ...], depth: int) -> Iterator[str]:
        pending: dict[str, Buffer] = {}
        for stmt in body:
            if isinstance(stmt, Alloc):
                pending[stmt.buffer.name] = stmt.buffer
                continue
            if isinstance(stmt, Store) and stmt.buffer.name in pending:
                del pending[stmt.buffer.name]
                value = self._expr.text(stmt.value)
                yield from self._line(
                    depth, f"{stmt.buffer.dtype.c_name} {stmt.buffer.name} = ", value
                )
                continue
            if not isinstance(stmt, Let | Store):
                for buffer in pending.values():
                    yield f"{INDENT * depth}{buffer.dtype.c_name} {buffer.name};"
                pending.clear()
            yield from self._stmt(stmt, depth)

    def _stmt(self, stmt: Stmt, depth: int) -> Iterator[str]:
        pad = INDENT * depth
        text = self._expr.text
        match stmt:
            case Comment(words):
                yield f"{pad}/* {words} */"
            case Let(var, value):
                yield from self._line(depth, f"const {var.dtype.c_name} {var.name} = ", text(value))
            case View(pointer, base, offset):
                self._names[pointer.name] = pointer.name
                qualifier = "const " if base.scope in ("input", "const") else ""
                name = self._names.get(base.name, base.name)
                at = text(offset)
                sum_ = name if at == "0" else f"{name} + {text(offset, 12)}"
                yield f"{pad}{qualifier}{pointer.dtype.c_name} *const {pointer.name} = {sum_};"
            case Store():
                yield from self._store(stmt, depth)
            case For(var, start, stop, body, step):
                increment = f"{var.name}++" if step == 1 else f"{var.name} += {step}"
                head = f"for (int32_t {var.name} = {text(start)}; {var.name} < {text(stop, 11)};"
                yield f"{pad}{head} {increment}) {{"
                yield from self._body(body, depth + 1)
                yield f"{pad}}}"
            case If(condition, then, orelse):
                yield f"{pad}if ({text(condition)}) {{"
                yield from self._body(then, depth + 1)
                if orelse:
                    yield f"{pad}}} else {{"
                    yield from self._body(orelse, depth + 1)
                yield f"{pad}}}"
            case _:
                raise AssertionError(stmt)

    def _store(self, stmt: Store, depth: int) -> Iterator[str]:
        target = self._expr.element(stmt.buffer, stmt.indices)
        value = self._expr.text(stmt.value)
        if value.startswith(f"{target} + "):
            yield from self._line(depth, f"{target} += ", value[len(target) + 3 :])
        else:
            yield from self._line(depth, f"{target} = ", value)

    def _line(self, depth: int, head: str, value: str) -> Iterator[str]:
        """``head value;`` in lines that fit: a call breaks between its arguments."""
        pad = INDENT * depth
        line = f"{pad}{head}{value};"
        if len(line) <= WIDTH:
            yield line
        elif len(value) + len(pad) + 5 <= WIDTH:
            yield pad + head.rstrip()
            yield f"{pad}{INDENT * 2}{value};"
        elif not (value.endswith(")") and value.split("(")[0].isidentifier()):
            yield line
        else:
            name, _, arguments = value.partition("(")
            yield wrap_arguments(f"{head}{name}(", _arguments(arguments[:-1]), ");", pad)


def _arguments(text: str) -> list[str]:
    """The parts of an argument list between its outer commas."""
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char in "([") - (char in ")]")
        if char == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    return [*parts, text[start:].strip()]


def aligned(size: int, alignment: int = 8) -> int:
    """``size`` rounded up to a multiple of ``alignment``."""
    return -(-size // alignment) * alignment


def workspace_bytes(function: Function) -> int:
    """The bytes behind the ``workspace`` pointer of a kernel."""
    return sum(aligned(buffer.size_bytes) for buffer in function.workspace)


def wrap_arguments(head: str, arguments: list[str], tail: str, pad: str) -> str:
    """``head(a, b)tail`` in lines of at most WIDTH - 2, continued under the first argument."""
    lines, line = [], pad + head
    for i, argument in enumerate(arguments):
        piece = argument + (tail if i == len(arguments) - 1 else ",")
        if len(line) + len(piece) + 3 > WIDTH and line.strip() != head.strip():
            lines.append(line.rstrip())
            line = " " * len(pad + head) + piece
        else:
            line += piece if line.endswith("(") else f" {piece}"
    return "\n".join([*lines, line])
