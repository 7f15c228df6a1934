"""The text form of the loop IR, read back: see ``print_loop`` for what it looks like.

In: the text, and for a module the data of its large constants by name. Out: a ``Function`` or a
``Module`` equal to the printed one, or a ModelError with line and column. Names are known where
they are visible, so a use before its definition does not parse; ``verify_loop`` checks the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import TypeGuard

import numpy as np

from utvm.ir.dtype import DType
from utvm.ir.graph import TensorType
from utvm.ir.intrinsics import INTRINSICS
from utvm.ir.loop import (
    Alloc,
    Binary,
    Buffer,
    Call,
    Cast,
    Comment,
    Expr,
    For,
    Function,
    If,
    Imm,
    Invoke,
    KernelCall,
    Let,
    Load,
    Module,
    Pointer,
    Select,
    Stmt,
    Store,
    Var,
    View,
)
from utvm.ir.parse_literals import TypeParser
from utvm.ir.print_loop import COMPARE, PRECEDENCE, SUFFIXES
from utvm.ir.scan import Scanner, Token

MAX_NESTING = 64
_DTYPES = {dtype.value: dtype for dtype in DType}
_BY_SUFFIX = {suffix: dtype for dtype, suffix in SUFFIXES.items()}
_SCOPES = ("input", "const", "workspace", "output")
_NOTHING: Mapping[str, np.ndarray] = {}


def parse_function(text: str, *, file: str = "text") -> Function:
    """The function that ``text`` describes."""
    parser = _Parser(Scanner(text, file))
    function = parser.function()
    parser.end()
    return function


def parse_module(
    text: str, constants: Mapping[str, np.ndarray] = _NOTHING, *, file: str = "text"
) -> Module:
    """The module that ``text`` describes; ``constants`` holds the data that the text leaves out."""
    parser = _Parser(Scanner(text, file))
    module = parser.module(constants)
    parser.end()
    return module


@dataclass
class _Parser(TypeParser):
    """``buffers`` and ``variables`` are what the current place sees; ``depth`` its nesting."""

    buffers: dict[str, Buffer] = field(default_factory=dict)
    variables: dict[str, Var] = field(default_factory=dict)
    depth: int = 0

    def end(self) -> None:
        if self.scan.peek().kind != "end":
            self.scan.fail("something follows", expected="the end of the text")

    # Modules and functions.

    def module(self, data: Mapping[str, np.ndarray]) -> Module:
        scan = self.scan
        scan.expect("module")
        name = self._word("the module's name")
        inputs = self._names()
        scan.expect("->")
        outputs = self._names()
        scan.expect("{")
        tensors: dict[str, Buffer] = {}
        aliases: dict[str, str] = {}
        constants: dict[str, np.ndarray] = {}
        calls: list[KernelCall] = []
        functions: list[Function] = []
        micros: list[Function] = []
        while not scan.accept("}"):
            if scan.at("function"):
                functions.append(self.function())
            elif scan.accept("micro"):
                micros.append(self.function())
            elif scan.accept("tensor"):
                buffer = self._declaration("workspace")
                tensors[buffer.name] = buffer
            elif scan.accept("alias"):
                alias = self._word("the alias")
                scan.expect("=")
                aliases[alias] = self._word("a tensor")
            elif scan.accept("const"):
                token = scan.peek()
                buffer = self._declaration("const")
                type = TensorType(buffer.shape, buffer.dtype)
                constants[buffer.name] = self.constant_data(token, buffer.name, type, data)
            elif scan.accept("call"):
                function = self._word("a function")
                arguments = self._names()
                scan.expect("->")
                calls.append(KernelCall(function, arguments, self._names()))
            else:
                scan.fail(
                    "a line of a module begins otherwise",
                    expected='"tensor", "alias", "const", "call", "function", "micro" or "}"',
                )
        return Module(
            name,
            inputs,
            outputs,
            tuple(functions),
            tuple(calls),
            tensors,
            aliases,
            constants,
            tuple(micros),
        )

    def function(self) -> Function:
        scan = self.scan
        scan.expect("function")
        self.buffers, self.variables = {}, {}
        function = Function(self._word("the function's name"), (), (), ())
        if scan.accept("op"):
            function = replace(function, op=self.string())
        if scan.accept("macs"):
            function = replace(function, macs=self.integer())
        if scan.accept("in_place"):
            function = replace(function, in_place=tuple(self.items("[", "]", self.integer)))
        if scan.accept("scalars"):
            function = replace(function, scalars=tuple(map(Var, self._names())))
            self.variables = {var.name: var for var in function.scalars}
        scan.expect("{")
        comment = []
        while scan.accept("about"):
            comment.append(self.string())
        found: dict[str, list[Buffer]] = {scope: [] for scope in _SCOPES}
        while scan.peek().text in _SCOPES:
            scope = scan.take().text
            buffer = self._declaration(scope)
            self.buffers[buffer.name] = buffer
            found[scope].append(buffer)
        return replace(
            function,
            inputs=tuple(found["input"]),
            constants=tuple(found["const"]),
            workspace=tuple(found["workspace"]),
            outputs=tuple(found["output"]),
            comment=tuple(comment),
            body=self._body(),
        )

    def _names(self) -> tuple[str, ...]:
        return tuple(self.items("(", ")", lambda: self._word("a name")))

    def _word(self, what: str) -> str:
        return self.scan.expect_kind("word", what).text

    def _declaration(self, scope: str) -> Buffer:
        """``name: type``."""
        name = self._word("a buffer's name")
        self.scan.expect(":")
        type = self.tensor_type()
        return Buffer(name, type.dtype, type.shape, scope)

    # Statements.

    def _block(self) -> tuple[Stmt, ...]:
        self.scan.expect("{")
        return self._body()

    def _body(self) -> tuple[Stmt, ...]:
        """Statements up to the closing brace; what they define is forgotten behind it."""
        seen = dict(self.buffers), dict(self.variables)
        self._deeper()
        body: list[Stmt] = []
        while not self.scan.accept("}"):
            body.append(self._stmt())
        self.depth -= 1
        self.buffers, self.variables = seen
        return tuple(body)

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_NESTING:
            self.scan.fail("nested too deeply", expected=f"at most {MAX_NESTING} levels")

    def _stmt(self) -> Stmt:
        scan = self.scan
        if scan.accept("for"):
            return self._for()
        if scan.accept("if"):
            condition, then = self._expr(), self._block()
            return If(condition, then, self._block() if scan.accept("else") else ())
        if scan.accept("let"):
            return self._let()
        if scan.accept("alloc"):
            buffer = self._declaration("register")
            self.buffers[buffer.name] = buffer
            return Alloc(buffer)
        if scan.accept("view"):
            return self._view()
        if scan.accept("note"):
            return Comment(self.string())
        if scan.accept("invoke"):
            return self._invoke()
        token = scan.expect_kind("word", "a statement")
        buffer, indices = self._element(token)
        lanes = self._lanes()
        scan.expect("=")
        return Store(buffer, indices, self._expr(), lanes)

    def _invoke(self) -> Invoke:
        """Pointers are written as elements; integers follow them."""
        name = self._word("a micro function")
        arguments = self.items("(", ")", self._expr)
        pointers = [Pointer(a.buffer, a.indices[0]) for a in arguments if _is_place(a)]
        scalars = [a for a in arguments if not _is_place(a)]
        return Invoke(name, tuple(pointers), tuple(scalars))

    def _lanes(self) -> int:
        return self.integer() if self.scan.accept("lanes") else 1

    def _for(self) -> For:
        scan = self.scan
        var = Var(self._word("the loop's variable"))
        scan.expect("in")
        start = self._expr()
        scan.expect("..")
        stop = self._expr()
        step = self.integer() if scan.accept("step") else 1
        parallel = scan.accept("parallel")
        hidden = self.variables.get(var.name)
        self.variables[var.name] = var
        body = self._block()
        del self.variables[var.name]
        if hidden is not None:
            self.variables[var.name] = hidden
        return For(var, start, stop, body, step, parallel)

    def _let(self) -> Let:
        name = self._word("the name of a value")
        self.scan.expect(":")
        var = Var(name, self.element_type())
        self.scan.expect("=")
        value = self._expr()
        self.variables[name] = var
        return Let(var, value)

    def _view(self) -> View:
        pointer = self._declaration("")
        self.scan.expect("=")
        base, indices = self._element(self.scan.expect_kind("word", "a buffer"))
        if len(indices) != 1:
            self.scan.fail("a view begins at one flat offset", expected="buffer[offset]")
        pointer = replace(pointer, scope=base.scope)
        self.buffers[pointer.name] = pointer
        return View(pointer, base, indices[0])

    def _element(self, token: Token) -> tuple[Buffer, tuple[Expr, ...]]:
        """``name[indices]`` or ``name.view(shape)[indices]``, from behind the name."""
        scan = self.scan
        if token.text not in self.buffers:
            scan.fail("no such buffer here", token, expected=", ".join(self.buffers)[:80])
        buffer = self.buffers[token.text]
        if scan.accept("."):
            scan.expect("view")
            shape = tuple(self.items("(", ")", self.integer))
            if prod(shape) != buffer.elements:
                scan.fail("the view has another size", token, expected=str(buffer.elements))
            buffer = replace(buffer, shape=shape)
        return buffer, tuple(self.items("[", "]", self._expr))

    # Expressions.

    def _expr(self, least: int = 0) -> Expr:
        """An expression of infix operators that bind at least as tightly as ``least``."""
        self._deeper()
        left = self._atom()
        while (binds := self._binding()) >= max(least, 1):
            op = self.scan.take().text
            left = Binary(op, left, self._expr(binds + 1))
            if binds == COMPARE and self._binding() == COMPARE:
                self.scan.fail("comparisons do not chain", expected="parentheses")
        self.depth -= 1
        return left

    def _binding(self) -> int:
        """How tightly the next token binds as an infix operator; 0 if it is none."""
        token = self.scan.peek()
        infix = token.kind in ("symbol", "word")
        return PRECEDENCE.get(token.text, 0) if infix else 0

    def _atom(self) -> Expr:
        scan = self.scan
        if scan.accept("("):
            inner = self._expr()
            scan.expect(")")
            return inner
        token = scan.peek()
        if token.kind == "number" or token.text in ("-", "inf", "nan"):
            return self._literal()
        token = scan.expect_kind("word", "a value")
        if token.text in ("true", "false"):
            return Imm(int(token.text == "true"), DType.BOOL)
        if scan.at("(") or scan.at(":"):
            return self._call(token)
        if scan.at("[") or scan.at("."):
            buffer, indices = self._element(token)
            return Load(buffer, indices, self._lanes())
        if token.text not in self.variables:
            scan.fail("no such variable here", token, expected=", ".join(self.variables)[:80])
        return self.variables[token.text]

    def _literal(self) -> Imm:
        """A number with the suffix of its type behind it."""
        scan = self.scan
        token = scan.peek()
        value = self.number()
        suffix = scan.peek()
        adjacent = suffix.kind == "word" and scan.adjacent()
        if adjacent and suffix.text in _BY_SUFFIX:
            scan.take()
            dtype = _BY_SUFFIX[suffix.text]
        else:
            dtype = DType.INT32 if isinstance(value, int) else DType.FLOAT32
        if not dtype.is_float and not isinstance(value, int):
            scan.fail("not an integer", token, expected=dtype.value)
        if not dtype.is_float and not dtype.minimum <= value <= dtype.maximum:
            scan.fail("the literal is out of range", token, expected=dtype.value)
        return Imm(float(value) if dtype.is_float else value, dtype)

    def _call(self, name: Token) -> Expr:
        """A cast, ``min``, ``max``, ``select`` or an intrinsic."""
        scan = self.scan
        declared = self.element_type() if scan.accept(":") else None
        args = tuple(self.items("(", ")", self._expr))
        counts = {"min": 2, "max": 2, "select": 3, **dict.fromkeys(_DTYPES, 1)}
        known = counts | {i.name: len(i.args) for i in INTRINSICS.values()}
        if name.text not in known:
            scan.fail("no such function", name, expected=", ".join(known))
        if len(args) != known[name.text]:
            scan.fail("wrong number of arguments", name, expected=str(known[name.text]))
        if name.text in _DTYPES:
            return Cast(_DTYPES[name.text], args[0])
        if name.text in ("min", "max"):
            return Binary(name.text, *args)
        if name.text == "select":
            return Select(*args)
        return Call(name.text, args, declared or INTRINSICS[name.text].result)


def _is_place(argument: Expr) -> TypeGuard[Load]:
    """Whether an argument of ``invoke`` is a pointer: an element at one flat offset."""
    return isinstance(argument, Load) and argument.lanes == 1 and len(argument.indices) == 1
