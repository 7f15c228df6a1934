"""The graph that the native hook walks: basic blocks, priced once for each way of entering them.

In: the program's bytes, a cycle model, the functions whose cost is asked for. Out: nodes and edges
in the native library's tables, made when the run first needs them (``BlockTable.extend``). A node
is a block with the pipeline state on its entry; an edge is a way from one node to the next, taken
or fallen through. Assumes that code does not change while it runs; ``forget`` drops what is
overwritten between two runs.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from utvm.device import emulator_hooks as hooks
from utvm.device.cycles_m0plus import CortexM0Plus
from utvm.device.cycles_m4 import CortexM4
from utvm.device.cycles_m7 import CortexM7
from utvm.device.elf import ElfImage
from utvm.device.emulator_decode import (
    PC,
    SP,
    Instruction,
    Kind,
    conditions_behind,
    decode_block,
)
from utvm.support.errors import InputError


class CycleModel(Protocol):
    """Turns decoded instructions into cycles; the state is any hashable value of its own."""

    start: Any
    mispredict_cycles: int
    predicts_branches: bool

    def block(self, instructions: Sequence[Instruction], state: Any) -> tuple[int, Any]: ...

    def leave(self, last: Instruction, taken: bool, state: Any) -> tuple[int, Any]: ...


CYCLE_MODELS: dict[str, type[CycleModel]] = {
    "cortex-m0plus": CortexM0Plus,
    "cortex-m4": CortexM4,
    "cortex-m7": CortexM7,
}


def cycle_model(name: str) -> CycleModel:
    """The model called ``name``."""
    if name not in CYCLE_MODELS:
        raise InputError(
            "unknown cycle model", expected=" or ".join(sorted(CYCLE_MODELS)), found=name
        )
    return CYCLE_MODELS[name]()


_BlockKey = tuple[int, int, tuple[str, ...]]


@dataclass(frozen=True)
class Block:
    """A basic block as the emulator translated it."""

    address: int
    size: int
    instructions: tuple[Instruction, ...]
    stack_drop: int  # how far below its entry value it pushes the stack pointer
    sets_stack: bool  # the stack pointer after it is known only by reading it
    bases: int  # bit n: it moves words in bulk through rn as it is on entry
    # Of an if-then group that a border of the block cuts: the conditions of what comes, last first.
    conditions: tuple[str, ...] = ()
    conditions_behind: tuple[str, ...] = ()

    @property
    def key(self) -> _BlockKey:
        return self.address, self.size, self.conditions

    @property
    def last(self) -> Instruction | None:
        return self.instructions[-1] if self.instructions else None


_PAGE_BITS = 12  # code is looked for by pages, so that writes of data cost nothing


@dataclass
class _Node:
    block: Block
    state_before: Any
    state_after: Any

    @property
    def key(self) -> tuple[_BlockKey, Any]:
        return self.block.key, self.state_before


@dataclass
class BlockTable:
    """Nodes and edges so far. ``ranges`` says which addresses belong to which owner."""

    library: Any
    machine: Any
    model: CycleModel
    read_code: Callable[[int, int], bytes]
    ranges: Sequence[tuple[int, int, int]]  # first address, end, owner
    check: Callable[[Block], None]  # refuses what the processor would refuse
    _nodes: dict[int, _Node] = field(default_factory=dict)
    _ids: dict[tuple[_BlockKey, Any], int] = field(default_factory=dict)
    _blocks: dict[_BlockKey, Block] = field(default_factory=dict)
    _branches: dict[int, int] = field(default_factory=dict)
    _pages: set[int] = field(default_factory=set)  # that hold or held blocks

    def __post_init__(self) -> None:
        """The walk starts in an empty block that every reset comes from."""
        start, state = Block(0, 0, (), 0, False, 0), self.model.start
        self._add_node(_Node(start, state, state), hooks.Node(owner=-1, branch=-1))

    def restart(self) -> None:
        """The pipeline is empty: the next block is entered as after a reset."""
        self.machine.current, self.machine.left = 0, 0

    def forget(self, low: int, high: int) -> bool:
        """Drops all that is known of code from ``low`` up to ``high``, which was overwritten.

        False if no code ever ran near there.
        """
        if self._pages.isdisjoint(range(low >> _PAGE_BITS, ((high - 1) >> _PAGE_BITS) + 1)):
            return False
        for key in [k for k in self._blocks if k[0] < high and low < k[0] + k[1]]:
            del self._blocks[key]
        kept = self._blocks
        dropped = [
            number for number, node in self._nodes.items() if number and node.block.key not in kept
        ]
        if self.machine.current in dropped:
            self.restart()
        for number in dropped:
            del self._ids[self._nodes.pop(number).key]
        array = (ctypes.c_int32 * len(dropped))(*dropped)
        self.library.emulator_drop_nodes(self.machine, array, len(dropped))
        for address, predictor in self._branches.items():
            if low <= address < high:
                self.library.emulator_reset_predictor(self.machine, predictor)
        return True

    def extend(self, current: int, address: int, size: int) -> None:
        """Adds the edge from node ``current`` to the block at ``address``."""
        came_from = self._nodes[current]
        falls_through = address == came_from.block.address + came_from.block.size
        conditions = came_from.block.conditions_behind if falls_through else ()
        block = self._block(address, size, conditions)
        taken = _is_taken(came_from.block, address)
        cycles, state = 0, came_from.state_after
        last = came_from.block.last
        if last is not None:
            cycles, state = self.model.leave(last, taken, state)
        flags = hooks.EDGE_TAKEN if taken else 0
        if last is not None and last.is_call:
            flags |= hooks.EDGE_CALLS
        if came_from.block.sets_stack:
            flags |= hooks.EDGE_CHECKS_STACK
        node = self._node(block, state)
        edge = hooks.Edge(address=address, size=size, node=node, leave_cycles=cycles, flags=flags)
        _check_memory(self.library.emulator_add_edge(self.machine, current, ctypes.byref(edge)))

    def ends_in_if_then(self, node: int) -> bool:
        """Whether an if-then group goes on behind this node's block."""
        return bool(self._nodes[node].block.conditions_behind)

    def bulk_access(self, address: int, register: int) -> tuple[int, str]:
        """Where a block at ``address`` first moves words in bulk through ``register``, and how."""
        for block in self._blocks.values():
            at = block.address
            for instruction in block.instructions if at == address else ():
                if _moves_in_bulk(instruction) and register in instruction.address:
                    return at, instruction.text
                at += instruction.size
        return address, "this access"

    def _block(self, address: int, size: int, conditions: tuple[str, ...]) -> Block:
        key = (address, size, conditions)
        if key not in self._blocks:
            # Unicorn may have translated more than is run; it ends soon behind the kilobyte.
            furthest = max(address + size, (address | 1023) + 2)
            self._pages.update((address >> _PAGE_BITS, furthest >> _PAGE_BITS))
            instructions = decode_block(self.read_code(address, size), address, conditions)
            drop, sets_stack = _stack_use(instructions)
            bases = _bases(instructions)
            behind = conditions_behind(instructions, conditions)
            block = Block(address, size, instructions, drop, sets_stack, bases, conditions, behind)
            self.check(block)
            self._blocks[key] = block
        return self._blocks[key]

    def _node(self, block: Block, state: Any) -> int:
        key = (block.key, state)
        if key not in self._ids:
            cycles, after = self.model.block(block.instructions, state)
            owner, starts = self._owner(block.address)
            flags = hooks.NODE_CHECKS_STACK if block.stack_drop else 0
            flags |= hooks.NODE_CHECKS_BASES if block.bases else 0
            if starts:
                measured = owner == hooks.OWNER_MEASURED
                flags |= hooks.NODE_ENTERS_MEASURED if measured else hooks.NODE_ENTERS_OPERATOR
            made = hooks.Node(
                instructions=len(block.instructions),
                cycles=cycles,
                owner=owner,
                branch=self._predictor(block),
                stack_drop=block.stack_drop,
                bases=block.bases,
                flags=flags,
            )
            self._ids[key] = self._add_node(_Node(block, state, after), made)
        return self._ids[key]

    def _add_node(self, node: _Node, made: hooks.Node) -> int:
        number = _check_memory(self.library.emulator_add_node(self.machine, ctypes.byref(made)))
        self._nodes[number] = node
        return number

    def _owner(self, address: int) -> tuple[int, bool]:
        """Whose code lies at ``address``, and whether it starts there."""
        for first, end, owner in self.ranges:
            if first <= address < end:
                return owner, address == first
        return hooks.OWNER_INHERITED, False

    def _predictor(self, block: Block) -> int:
        """One counter for each conditional branch, whichever block it ends."""
        last = block.last
        if last is None or not self.model.predicts_branches:
            return -1
        if not (last.writes_pc and last.conditional):
            return -1
        at = block.address + block.size - last.size
        if at not in self._branches:
            added = self.library.emulator_add_predictor(self.machine)
            self._branches[at] = _check_memory(added)
        return self._branches[at]


def owner_ranges(
    image: ElfImage, measure: str, operators: Sequence[str]
) -> list[tuple[int, int, int]]:
    """The address ranges of the measured function (owner 0) and of the operators (1, 2, ...)."""
    names = [measure, *operators]
    return [(*image.function_range(name), owner) for owner, name in enumerate(names)]


def _is_taken(block: Block, next_address: int) -> bool:
    """Whether control jumped. A conditional branch to the next instruction counts as not taken."""
    last = block.last
    if last is None or not last.writes_pc:
        return False
    falls_through = next_address == block.address + block.size
    return not (falls_through and last.conditional)


def _stack_use(instructions: Sequence[Instruction]) -> tuple[int, bool]:
    """How far the block pushes the stack pointer below its entry value, as its text tells."""
    depth = lowest = 0
    for instruction in instructions:
        if instruction.stack is None:
            return -lowest, True
        depth += instruction.stack
        lowest = min(lowest, depth)
    return -lowest, False


def _moves_in_bulk(instruction: Instruction) -> bool:
    """Whether the access traps at an address that is no multiple of 4, on every core."""
    is_float = instruction.words > 0 and instruction.mnemonic.startswith("v")
    return instruction.kind is Kind.MULTIPLE or is_float


def _bases(instructions: Sequence[Instruction]) -> int:
    """The base registers of such accesses that still hold what they held on entry, as bits.

    One that the block has moved by multiples of 4 counts as well: it is aligned as before.
    """
    changed: set[int] = {SP, PC}  # the stack pointer is always aligned
    found = 0
    for instruction in instructions:
        base = instruction.address[0] if instruction.address else PC
        if _moves_in_bulk(instruction) and base not in changed and not instruction.conditional:
            found |= 1 << base
        changed.update(instruction.results)
        if instruction.base_update is not None and not _moves_in_bulk(instruction):
            changed.add(instruction.base_update)
    return found


def uses_float(block: Block) -> bool:
    """Whether the block needs the floating-point unit switched on."""
    return any(instruction.mnemonic.startswith("v") for instruction in block.instructions)


def _check_memory(index: int) -> int:
    if index < 0:
        raise MemoryError("the emulator's block table")
    return index
