"""Loop IR functions as C99 functions.

In: a scheduled ``Function``. Out: the text of one C function with a comment that says which
operator it is. Parameters are the operands, the results and one workspace pointer; constant arrays
get short local names. Every statement fits on one line.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping

from utvm.codegen.c_expr import ADD, ExprPrinter
from utvm.codegen.c_layout import (
    CALL,
    INDENT,
    WIDTH,
    assignment,
    comment,
    value_room,
    wrap_arguments,
)
from utvm.codegen.c_names import FreshNames, constant_names
from utvm.codegen.c_shorten import shorten
from utvm.ir.loop import (
    Alloc,
    Binary,
    Buffer,
    Comment,
    Expr,
    For,
    Function,
    If,
    Invoke,
    Let,
    Load,
    Stmt,
    Store,
    View,
)
from utvm.ir.rewrite import expressions, statements, used_names

WORKSPACE = "workspace"
_NO_MICROS: Mapping[str, str] = {}


class FunctionPrinter:
    """Prints one kernel. ``symbol`` is its C name, ``constants`` maps constant buffers to symbols.

    ``in_place`` says that an operand may share memory with the result, so nothing is ``restrict``.
    A micro function is ``static`` and has its ``scalars`` behind its pointers; ``micros`` maps
    those that a kernel invokes to symbols. After ``definition``, ``calls`` holds the functions of
    the runtime that the kernel calls.
    """

    def __init__(
        self,
        function: Function,
        symbol: str,
        constants: Mapping[str, str],
        in_place: bool,
        micros: Mapping[str, str] = _NO_MICROS,
        static: bool = False,
    ) -> None:
        self._function = function
        self._symbol = symbol
        self._symbols = constants
        self._restrict = "" if in_place else "restrict "
        self._micros = micros
        self._head = "static void" if static else "void"
        self._locals = constant_names(function)
        self._expr = ExprPrinter(lambda buffer: self._locals.get(buffer.name, buffer.name))
        self._fresh = FreshNames(used_names(function) | set(self._locals.values()))

    @property
    def calls(self) -> set[str]:
        return self._expr.calls

    def prototype(self, tail: str = ");") -> str:
        """The declaration, wrapped as clang-format wraps it."""
        parameters = [self._parameter(b, "const ") for b in self._function.inputs]
        parameters += [self._parameter(b, "") for b in self._function.outputs]
        if self._function.workspace:
            parameters.append(f"void *{self._restrict}{WORKSPACE}")
        parameters += [f"int32_t {var.name}" for var in self._function.scalars]
        return wrap_arguments(f"{self._head} {self._symbol}(", parameters or ["void"], tail, "")

    def _parameter(self, buffer: Buffer, qualifier: str) -> str:
        return f"{qualifier}{buffer.dtype.c_name} *{self._restrict}{buffer.name}"

    def definition(self) -> str:
        """The whole function."""
        lines = [*comment(self._function.comment), self.prototype(") {")]
        used = _buffers_in(self._function.body)
        for buffer in (*self._function.inputs, *self._function.outputs):
            if buffer.name not in used:
                lines.append(f"{INDENT}(void){buffer.name};")
        lines += self._constants(used)
        lines += self._workspaces(used)
        lines += self._body(self._function.body, 1)
        return "\n".join([*lines, "}"]) + "\n"

    def _constants(self, used: set[str]) -> Iterator[str]:
        for buffer in self._function.constants:
            if buffer.name in used:
                head = f"const {buffer.dtype.c_name} *const {self._locals[buffer.name]} ="
                yield from assignment(INDENT, head, self._symbols[buffer.name])

    def _workspaces(self, used: set[str]) -> Iterator[str]:
        """The workspace's buffers, one behind the other."""
        offset = 0
        for buffer in self._function.workspace:
            if buffer.name in used:
                at = f"(void *)((uint8_t *){WORKSPACE} + {offset})" if offset else WORKSPACE
                head = f"{buffer.dtype.c_name} *const {buffer.name} ="
                yield from assignment(INDENT, head, at)
            offset = aligned(offset + buffer.size_bytes)

    def _body(self, body: tuple[Stmt, ...], depth: int) -> Iterator[str]:
        """A register is declared by its first store where that stands in the same block."""
        pending: dict[str, Buffer] = {}
        for stmt in body:
            if isinstance(stmt, Alloc):
                pending[stmt.buffer.name] = stmt.buffer
            elif isinstance(stmt, Store) and stmt.buffer.name in pending:
                buffer = pending.pop(stmt.buffer.name)
                yield from self._line(depth, f"{buffer.dtype.c_name} {buffer.name} =", stmt.value)
            else:
                if not isinstance(stmt, Let | Store | Comment):
                    for buffer in pending.values():
                        yield f"{INDENT * depth}{buffer.dtype.c_name} {buffer.name};"
                    pending.clear()
                yield from self._stmt(stmt, depth)

    def _stmt(self, stmt: Stmt, depth: int) -> Iterator[str]:
        pad = INDENT * depth
        match stmt:
            case Comment(words):
                yield from comment((words,), pad)
            case Let(var, value):
                yield from self._line(depth, f"const {var.dtype.c_name} {var.name} =", value)
            case View():
                yield from self._view(stmt, depth)
            case Store():
                yield from self._store(stmt, depth)
            case Invoke(function, pointers, scalars):
                places = [
                    self._expr.address(p.buffer.view(p.buffer.elements), (p.offset,))
                    for p in pointers
                ]
                places += [self._expr.text(scalar) for scalar in scalars]
                yield wrap_arguments(f"{self._micros[function]}(", places, ");", pad, CALL)
            case For():
                yield from self._for(stmt, depth)
            case If(condition, then, orelse):
                room = WIDTH - len(f"{pad}if () {{")
                (condition,) = yield from self._short(depth, room, condition)
                yield f"{pad}if ({self._expr.text(condition)}) {{"
                yield from self._body(then, depth + 1)
                if orelse:
                    yield f"{pad}}} else {{"
                    yield from self._body(orelse, depth + 1)
                yield f"{pad}}}"
            case _:
                raise AssertionError(stmt)

    def _for(self, stmt: For, depth: int) -> Iterator[str]:
        pad, name = INDENT * depth, stmt.var.name
        increment = f"{name}++" if stmt.step == 1 else f"{name} += {stmt.step}"
        fixed = f"for (int32_t {name} = ; {name} < ; {increment}) {{"
        room = WIDTH - len(pad) - len(fixed)
        start, stop = yield from self._short(depth, room, stmt.start, stmt.stop)
        head = f"int32_t {name} = {self._expr.text(start)}; {name} < {self._expr.text(stop, ADD)}"
        yield f"{pad}for ({head}; {increment}) {{"
        yield from self._body(stmt.body, depth + 1)
        yield f"{pad}}}"

    def _view(self, stmt: View, depth: int) -> Iterator[str]:
        base, pointer = stmt.base, stmt.pointer
        qualifier = "const " if base.scope in ("input", "const") else ""
        name = self._locals.get(base.name, base.name)
        room = value_room(INDENT * depth) - len(f"{name} + ")
        (offset,) = yield from self._short(depth, room, stmt.offset)
        at = self._expr.text(offset, ADD)
        value = name if at == "0" else f"{name} + {at}"
        head = f"{qualifier}{pointer.dtype.c_name} *const {pointer.name} ="
        yield from assignment(INDENT * depth, head, value)

    def _store(self, stmt: Store, depth: int) -> Iterator[str]:
        if stmt.lanes > 1:
            address = self._expr.address(stmt.buffer, stmt.indices)
            self._expr.calls.add("utvm_store_word")
            values = [address, self._expr.text(stmt.value)]
            yield wrap_arguments("utvm_store_word(", values, ");", INDENT * depth, CALL)
            return
        target = self._expr.element(stmt.buffer, stmt.indices)
        match stmt.value:
            case Binary("+", Load(buffer, indices), term) if (buffer, indices) == (
                stmt.buffer,
                stmt.indices,
            ) and buffer.dtype.bits >= 32:
                yield from self._line(depth, f"{target} +=", term)
            case value:
                yield from self._line(depth, f"{target} =", value)

    def _line(self, depth: int, head: str, value: Expr) -> Iterator[str]:
        """``head value;`` behind the names it needs to fit."""
        pad = INDENT * depth
        (value,) = yield from self._short(depth, value_room(pad), value)
        yield from assignment(pad, head, self._expr.text(value))

    def _short(self, depth: int, room: int, *exprs: Expr) -> Generator[str, None, tuple[Expr, ...]]:
        """Expressions whose texts fit together in ``room`` columns, behind ``Let``s for parts of
        them where they did not.
        """
        kept = list(exprs)
        for i, expr in enumerate(kept):
            others = sum(len(self._expr.text(other)) for other in kept) - len(self._expr.text(expr))
            line = value_room(INDENT * depth)
            lets, kept[i] = shorten(self._expr, self._fresh, expr, room - others, line)
            for let in lets:
                yield from self._stmt(let, depth)
        return tuple(kept)


def _buffers_in(body: tuple[Stmt, ...]) -> set[str]:
    """The names of all buffers that a body reads, writes or points into."""
    names = {e.buffer.name for e in expressions(body) if isinstance(e, Load)}
    for stmt in statements(body):
        if isinstance(stmt, Store):
            names.add(stmt.buffer.name)
        elif isinstance(stmt, View):
            names.add(stmt.base.name)
        elif isinstance(stmt, Invoke):
            names.update(pointer.buffer.name for pointer in stmt.pointers)
    return names


def aligned(size: int, alignment: int = 8) -> int:
    """``size`` rounded up to a multiple of ``alignment``."""
    return -(-size // alignment) * alignment


def workspace_bytes(function: Function) -> int:
    """The bytes behind the ``workspace`` pointer of a kernel."""
    return sum(aligned(buffer.size_bytes) for buffer in function.workspace)
