"""A module as a graph for the graph executor: nodes, their tensors, and where those lie.

In: a module and its memory plan. Out: a ``GraphLayout``, of which the JSON text is made and the
memory that the runtime takes on a device is computed. Tensors between kernels, and workspaces, lie
in the pool exactly where the plan put them in its arena; inputs and outputs lie behind it. A tensor
in another shape is a node of its own that is not called (``__nop``), as in TVM's graphs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from utvm.ir.loop import Buffer, Module
from utvm.ir.memory import MemoryPlan

ALIGNMENT = 8
BLOCK_HEAD_BYTES = 8
NOP = "__nop"


@dataclass(frozen=True)
class GraphTensor:
    """One output of a node. Tensors of one ``storage`` may share memory even without the plan."""

    dtype: str
    shape: tuple[int, ...]
    storage: int
    offset: int
    size_bytes: int


@dataclass(frozen=True)
class GraphNode:
    """An input (``function`` is empty), or a call of a packed function.

    ``inputs`` are nodes and their outputs; ``workspace`` is an offset in the pool and a size.
    """

    name: str
    function: str
    inputs: tuple[tuple[int, int], ...]
    tensors: tuple[GraphTensor, ...]
    workspace: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class GraphLayout:
    """The whole graph. ``heads`` are the nodes and outputs that are the graph's outputs."""

    nodes: tuple[GraphNode, ...]
    heads: tuple[tuple[int, int], ...]
    pool_bytes: int

    @property
    def tensors(self) -> tuple[GraphTensor, ...]:
        return tuple(tensor for node in self.nodes for tensor in node.tensors)

    @property
    def operators(self) -> tuple[GraphNode, ...]:
        """The nodes that are called."""
        return tuple(node for node in self.nodes if node.function not in ("", NOP))


def graph_layout(module: Module, plan: MemoryPlan) -> GraphLayout:
    """The graph of a module. The packed function of a kernel is called ``<kernel>`` here; the
    registry adds the prefix.
    """
    return _Layout(module, plan).build()


@dataclass
class _Layout:
    """The state while nodes are made in execution order."""

    module: Module
    plan: MemoryPlan
    nodes: list[GraphNode] = field(default_factory=list)
    made: dict[str, tuple[int, int]] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    storages: dict[str, int] = field(default_factory=dict)

    def build(self) -> GraphLayout:
        module = self.module
        self._place()
        self._pool_storages()
        for name in module.inputs:
            self._add(name, "", (), (name,))
        for call in module.calls:
            operands = tuple(self._value(name) for name in call.inputs)
            placed = self.plan.workspaces.get(call.function)
            workspace = (placed.offset, placed.size) if placed else (0, 0)
            self._add(call.function, call.function, operands, call.outputs, workspace)
        heads = tuple(self._value(name) for name in module.outputs)
        pool = max((o + self._size(root) for root, o in self.offsets.items()), default=0)
        return GraphLayout(tuple(self.nodes), heads, max(pool, self._arena()))

    def _arena(self) -> int:
        return aligned(self.plan.arena_bytes)

    def _size(self, root: str) -> int:
        return aligned(self.module.tensors[root].size_bytes)

    def _place(self) -> None:
        """Values where the plan has them; inputs and outputs behind them."""
        self.offsets = {name: placed.offset for name, placed in self.plan.values.items()}
        end = self._arena()
        for name in (*self.module.inputs, *self.module.outputs):
            root = self.module.root(name)
            if root not in self.offsets:
                self.offsets[root] = end
                end += self._size(root)

    def _pool_storages(self) -> None:
        """Numbers such that a runtime which knows no offsets may give each number its memory.

        Values that take over an operand's memory must have its number. Others reuse the number
        whose values are all dead, the one of the nearest size.
        """
        module = self.module
        fixed = [module.root(name) for name in (*module.inputs, *module.outputs)]
        self.storages = {root: i for i, root in enumerate(dict.fromkeys(fixed))}
        sizes = [0] * len(self.storages)
        busy_until = [len(module.calls)] * len(self.storages)
        shared: dict[str, int] = {}
        for i, call in enumerate(module.calls):
            for root in map(module.root, call.outputs):
                if root not in self.storages:
                    placed = self.plan.values[root]
                    if placed.name not in shared:
                        shared[placed.name] = _free_storage(sizes, busy_until, i, placed.size)
                    number = self.storages[root] = shared[placed.name]
                    sizes[number] = max(sizes[number], placed.size)
                    busy_until[number] = placed.last

    def _add(
        self,
        name: str,
        function: str,
        inputs: tuple[tuple[int, int], ...],
        outputs: tuple[str, ...],
        workspace: tuple[int, int] = (0, 0),
    ) -> None:
        for position, output in enumerate(outputs):
            self.made[output] = (len(self.nodes), position)
        tensors = tuple(self._tensor(output) for output in outputs)
        self.nodes.append(GraphNode(name, function, inputs, tensors, workspace))

    def _tensor(self, name: str) -> GraphTensor:
        buffer: Buffer = self.module.tensors[name]
        root = self.module.root(name)
        storage, offset = self.storages[root], self.offsets[root]
        return GraphTensor(buffer.dtype.value, buffer.shape, storage, offset, buffer.size_bytes)

    def _value(self, name: str) -> tuple[int, int]:
        """The node that makes a value; one that only reshapes is added when first asked for."""
        if name not in self.made:
            source = self._value(self.module.aliases[name])
            self._add(f"reshape_{len(self.nodes)}", NOP, (source,), (name,))
        return self.made[name]


def _free_storage(sizes: list[int], busy_until: list[int], call: int, size: int) -> int:
    """A storage that nothing needs any more at ``call``, else a new one."""
    free = [n for n, last in enumerate(busy_until) if last < call]
    if free:
        return min(free, key=lambda n: (abs(sizes[n] - size), n))
    sizes.append(size)
    busy_until.append(call)
    return len(sizes) - 1


def runtime_memory_bytes(layout: GraphLayout, pointer_bytes: int) -> int:
    """What ``TVMGraphRuntime_Create`` takes of the runtime's memory, on a machine with pointers of
    4 or 8 bytes: two blocks with their heads. ``crt/src/graph.h`` has the structures.
    """
    tensors, operators = layout.tensors, layout.operators
    arguments = [len(node.inputs) + len(node.tensors) for node in operators]
    inputs = sum(not node.function for node in layout.nodes)
    numbers = len(layout.nodes) + 1 + len(layout.heads) + sum(arguments)
    most = max(arguments, default=0)
    structure, tensor, operator, entry = STRUCTURES[pointer_bytes]
    parts = (
        structure,
        tensor * len(tensors),
        8 * sum(len(t.shape) for t in tensors),
        operator * len(operators),
        entry * inputs,
        8 * most,
        4 * most,
        2 * numbers,
    )
    return BLOCK_HEAD_BYTES * 2 + sum(map(aligned, parts)) + aligned(layout.pool_bytes)


STRUCTURES = {4: (52, 40, 16, 8), 8: (96, 48, 24, 16)}
"""By bytes per pointer, of the runtime's structures: TVMGraphRuntime, DLTensor, GraphOperator,
GraphInput. A test compares them with the C compiler's figures.
"""


def aligned(size: int) -> int:
    """``size`` rounded up to what the runtime allocates in."""
    return -(-size // ALIGNMENT) * ALIGNMENT
