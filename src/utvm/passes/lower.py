"""lower: fused kernels of the graph become functions of the loop IR.

In: a plain, fused graph. Out: a ``Module`` with one unscheduled ``Function`` per kernel. An anchor
with ``define`` lays out its own loops and calls ``store`` per element; ``store`` evaluates the
elementwise nodes behind it as ``Let``s and stores the kernel's result. Kernels of ``compute``
operators only get a plain nest over the result. Constants of one element become literals; the
others become constant arrays named after their values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from utvm.ir.attributes import format_attrs
from utvm.ir.dtype import dtype_of
from utvm.ir.graph import Graph, Node, TensorType
from utvm.ir.loop import (
    Buffer,
    Expr,
    Function,
    Imm,
    KernelCall,
    Let,
    Load,
    Module,
    Stmt,
    Store,
    Var,
)
from utvm.ir.rewrite import simplify_body
from utvm.op.base import Op
from utvm.op.definition import Definition, Element, Index, grid
from utvm.support.errors import UnsupportedError

FindOp = Callable[[str], Op]
MAX_TABLE = 1 << 20


def lower(graph: Graph, find_op: FindOp) -> Module:
    """Every kernel as a function, in execution order."""
    functions: list[Function] = []
    calls: list[KernelCall] = []
    pool = _ConstantPool()
    aliases: dict[str, str] = {}
    groups: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if node.op == "reshape":
            aliases[node.outputs[0]] = node.inputs[0]
        else:
            groups.setdefault(node.group, []).append(node)
    for name, nodes in groups.items():
        kernel = _KernelLowering(graph, name, nodes, find_op, pool)
        function = kernel.lower()
        functions.append(function)
        calls.append(KernelCall(name, kernel.input_names, kernel.output_names))
    used = {n for call in calls for n in call.inputs + call.outputs} | {
        *graph.inputs,
        *graph.outputs,
    }
    used |= set(aliases) | set(aliases.values())
    tensors = {name: _buffer(graph, name, "workspace") for name in graph.values if name in used}
    return Module(
        graph.name,
        graph.inputs,
        graph.outputs,
        tuple(functions),
        tuple(calls),
        tensors,
        aliases,
        pool.arrays,
    )


def _buffer(graph: Graph, name: str, scope: str) -> Buffer:
    value = graph.values[name]
    return Buffer(name, value.dtype, value.shape, scope)


@dataclass
class _ConstantPool:
    """The constant arrays of the module; equal arrays are stored once."""

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    names: dict[tuple[str, bytes], str] = field(default_factory=dict)

    def add(self, data: np.ndarray, hint: str) -> Buffer:
        """The constant buffer with these elements; a new one is named ``hint``."""
        key = (data.dtype.name, data.tobytes())
        if key not in self.names:
            name = hint
            while name in self.arrays:
                name += "_2"
            self.names[key] = name
            self.arrays[name] = data
        return Buffer(self.names[key], dtype_of(data), tuple(data.shape), "const")


@dataclass
class _KernelLowering:
    """The state while one kernel is lowered: its operands so far and the constants it uses."""

    graph: Graph
    name: str
    nodes: list[Node]
    find_op: FindOp
    pool: _ConstantPool
    constants: dict[str, Buffer] = field(default_factory=dict)
    operands: dict[str, Buffer] = field(default_factory=dict)

    @property
    def anchor(self) -> Node | None:
        """The node that lays out the loops; None if the kernel is elementwise throughout."""
        return next((n for n in self.nodes if not self.find_op(n.op).elementwise), None)

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(self.operands)

    @property
    def output_names(self) -> tuple[str, ...]:
        return self.nodes[-1].outputs

    def lower(self) -> Function:
        anchor = self.anchor
        workspaces: tuple[Buffer, ...] = ()
        if anchor is not None and self.find_op(anchor.op).define is not None:
            body, workspaces = self._defined(anchor)
        else:
            body = self._computed()
        main = anchor or self.nodes[-1]
        return Function(
            self.name,
            tuple(self.operands.values()),
            tuple(self.result(name) for name in self.output_names),
            simplify_body(body),
            workspaces,
            tuple({buffer.name: buffer for buffer in self.constants.values()}.values()),
            self._comment(),
            main.op,
            self._macs(),
            self._in_place(),
        )

    def _in_place(self) -> tuple[int, ...]:
        """Operands read only elementwise, in the shape and element size of the one result."""
        anchored = set() if self.anchor is None else set(self.anchor.inputs)
        result = self.graph.values[self.nodes[-1].outputs[0]]
        return tuple(
            i
            for i, name in enumerate(self.operands)
            if name not in anchored
            and self.graph.values[name].shape == result.shape
            and self.graph.values[name].dtype.size_bytes == result.dtype.size_bytes
        )

    def buffer_of(self, name: str) -> Buffer:
        """The buffer of a value that is made outside of this kernel."""
        if name in self.graph.constants:
            if name not in self.constants:
                data = self.graph.constants[name]
                self.constants[name] = self.pool.add(data, f"{self.name}_{self._role(name)}")
            return self.constants[name]
        if name not in self.operands:
            buffer = _buffer(self.graph, name, "input")
            self.operands[name] = replace(buffer, name=f"in{len(self.operands)}")
        return self.operands[name]

    def result(self, name: str) -> Buffer:
        """The buffer of a result. Kernels name their operands by position: no name of the model
        can then be one of a register or a loop.
        """
        buffer = _buffer(self.graph, name, "output")
        return replace(buffer, name=f"out{self.output_names.index(name)}")

    def _role(self, name: str) -> str:
        """What the first node that reads a constant calls it."""
        node = next(node for node in self.nodes if name in node.inputs)
        position = node.inputs.index(name)
        roles = self.find_op(node.op).operands
        return roles[position] if position < len(roles) else f"{node.op}{position}"

    def table(self, name: str, data: np.ndarray) -> Buffer:
        """A constant array that an operator computed for this kernel."""
        if data.size > MAX_TABLE:
            raise UnsupportedError(
                "the operator needs too large a table",
                where=self.nodes[0].source or self.name,
                expected=f"at most {MAX_TABLE} elements",
                found=str(data.size),
            )
        buffer = self.pool.add(np.ascontiguousarray(data), f"{self.name}_{name}")
        self.constants[buffer.name] = buffer
        return buffer

    def _defined(self, anchor: Node) -> tuple[tuple[Stmt, ...], tuple[Buffer, ...]]:
        op = self.find_op(anchor.op)
        assert op.define is not None
        epilogue = [node for node in self.nodes if node is not anchor]

        def store(
            index: Index, value: Expr, output: int, shape: tuple[int, ...]
        ) -> tuple[Stmt, ...]:
            name = anchor.outputs[output]
            target = name if len(anchor.outputs) > 1 else self.nodes[-1].outputs[0]
            return _Epilogue(self, epilogue, shape, {name: value}).store(target, index)

        definition = Definition(
            anchor.attrs,
            tuple(self.buffer_of(name) for name in anchor.inputs),
            tuple(self.graph.constants.get(name) for name in anchor.inputs),
            tuple(value.type for value in self.graph.outputs_of(anchor)),
            self._operand_kinds(epilogue, anchor) <= {"full", "scalar", "last"},
            self._operand_kinds(epilogue, anchor) <= {"full", "scalar"},
            store,
            self.table,
        )
        return op.define(definition), tuple(definition.workspaces)

    def _computed(self) -> tuple[Stmt, ...]:
        """A plain nest over the result: flat where all operands allow it."""
        result = self.graph.values[self.nodes[-1].outputs[0]]
        shape: tuple[int, ...] = result.shape or (1,)
        if self.anchor is None:
            shape = self._collapsed(shape)
        names = tuple(f"i{axis}" for axis in range(len(shape)))
        index = tuple(Var(name) for name in names)
        body = _Epilogue(self, self.nodes, shape, {}).store(result.name, index)
        return grid(names, shape, body)

    def _collapsed(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape as one axis, or as rows and channels, where the operands broadcast only so."""
        kinds = {self._kind(name, shape) for name in self._external()}
        if kinds <= {"full", "scalar"}:
            return (int(np.prod(shape)),)
        if kinds <= {"full", "scalar", "last"}:
            return (int(np.prod(shape[:-1])), shape[-1])
        return shape

    def _external(self) -> set[str]:
        inside = {name for node in self.nodes for name in node.outputs}
        return {name for node in self.nodes for name in self._broadcast(node)} - inside

    def _broadcast(self, node: Node) -> list[str]:
        """The operands that are read element by element."""
        tables = self.find_op(node.op).tables
        return [name for i, name in enumerate(node.inputs) if i not in tables]

    def _kind(self, name: str, shape: tuple[int, ...]) -> str:
        operand = self.graph.values[name].shape
        elements = int(np.prod(operand))
        if operand == shape or elements == int(np.prod(shape)):
            return "full"
        if elements == 1:
            return "scalar"
        return "last" if operand and elements == operand[-1] == shape[-1] else "other"

    def _operand_kinds(self, epilogue: list[Node], anchor: Node) -> set[str]:
        """How the operands of the nodes behind the anchor broadcast to its result."""
        shape = self.graph.values[anchor.outputs[0]].shape
        return {self._kind(name, shape) for node in epilogue for name in self._broadcast(node)}

    def _macs(self) -> int:
        total = 0
        for node in self.nodes:
            op = self.find_op(node.op)
            if op.macs is not None:
                inputs = [value.type for value in self.graph.inputs_of(node)]
                total += op.macs(inputs, [value.type for value in self.graph.outputs_of(node)])
        return total

    def _comment(self) -> tuple[str, ...]:
        """What the C function's comment says: the model's operators with their quantization, then
        the plain ones with shapes and attributes.
        """
        lines = [
            f"{node.source}: {node.detail}" if node.detail else node.source for node in self.nodes
        ]
        lines = [line for line in dict.fromkeys(lines) if line]
        for node in self.nodes:
            inputs = ", ".join(str(value.type) for value in self.graph.inputs_of(node))
            outputs = ", ".join(str(value.type) for value in self.graph.outputs_of(node))
            attributes = format_attrs(node.attrs).replace('"', "")
            suffix = f" with {attributes}" if attributes else ""
            lines.append(f"{node.op}({inputs}) -> {outputs}{suffix}")
        return tuple(lines)


@dataclass
class _Epilogue:
    """Evaluates the nodes of a kernel at one element: each node's result becomes a ``Let``.

    ``shape`` is the view of the result in which the index counts; operands are viewed to match.
    """

    kernel: _KernelLowering
    nodes: list[Node]
    shape: tuple[int, ...]
    known: Mapping[str, Expr]
    lets: list[Stmt] = field(default_factory=list)

    def store(self, target: str, index: Index) -> tuple[Stmt, ...]:
        values = dict(self.known)
        for node in self.nodes:
            values[node.outputs[0]] = self._evaluate(node, index, values)
        buffer = self.kernel.result(target).view(*self.shape)
        return (*self.lets, Store(buffer, index, values[target]))

    def _evaluate(self, node: Node, index: Index, values: Mapping[str, Expr]) -> Expr:
        op = self.kernel.find_op(node.op)
        assert op.compute is not None, node.op
        graph = self.kernel.graph
        output = TensorType(self.shape, graph.values[node.outputs[0]].dtype)
        inputs = tuple(
            self._type_of(name, op.elementwise and i not in op.tables)
            for i, name in enumerate(node.inputs)
        )

        def load(i: int, at: Index) -> Expr:
            name = node.inputs[i]
            return values[name] if name in values else self._load(name, inputs[i].shape, at)

        value = op.compute(Element(node.attrs, inputs, output, index, load, self._bind))
        return value if node is self.nodes[-1] else self._bind(value)

    def _bind(self, value: Expr) -> Expr:
        if isinstance(value, Imm | Var):
            return value
        var = Var(f"v{len(self.lets)}", value.dtype)
        self.lets.append(Let(var, value))
        return var

    def _type_of(self, name: str, elementwise: bool) -> TensorType:
        type = self.kernel.graph.values[name].type
        if not elementwise:
            return type
        whole = self.kernel.graph.values[self.kernel.nodes[-1].outputs[0]].shape
        if self.shape == (whole or (1,)):
            return type
        kinds = {"full": self.shape, "scalar": (1,), "last": self.shape[-1:]}
        return TensorType(kinds[self.kernel._kind(name, whole)], type.dtype)

    def _load(self, name: str, shape: tuple[int, ...], index: Index) -> Expr:
        data = self.kernel.graph.constants.get(name)
        if data is not None and data.size == 1:
            value = data.reshape(-1)[0].item()
            return Imm(value, self.kernel.graph.values[name].dtype)
        return Load(self.kernel.buffer_of(name).view(*shape), index)
