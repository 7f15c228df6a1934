"""Control flow and liveness of a program, and the dependences inside of a block.

A register is live where a later instruction may read what it holds. Dependences order two
instructions of a block: a read behind the write, a write behind reads and writes, accesses to the
same memory when one of them writes. The addition of a constant to a walking pointer is free to move
past accesses through it, because their immediates can be corrected (``settle``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from utvm.codegen.thumb.isa import offset_fits
from utvm.codegen.thumb.machine import FLAGS, Block, Inst, Memory, Program, real


def successors(blocks: Sequence[Block]) -> list[list[int]]:
    """The numbers of the blocks that may follow each block."""
    numbers = {block.label: at for at, block in enumerate(blocks)}
    result: list[list[int]] = []
    for at, block in enumerate(blocks):
        following = [numbers[block.target]] if block.target else []
        always = bool(block.target) and not block.insts[-1].cond
        if at + 1 < len(blocks) and not always:
            following.append(at + 1)
        result.append(following)
    return result


def live_out(blocks: Sequence[Block]) -> list[frozenset[int]]:
    """The registers that are live at the end of each block."""
    follow = successors(blocks)
    reads = [_upward(block.insts) for block in blocks]
    writes = [{d for inst in block.insts for d in inst.defs} for block in blocks]
    ins: list[frozenset[int]] = [frozenset() for _ in blocks]
    outs = list(ins)
    changed = True
    while changed:
        changed = False
        for at in reversed(range(len(blocks))):
            outs[at] = frozenset().union(*(ins[to] for to in follow[at]))
            new = frozenset(reads[at] | (outs[at] - writes[at]))
            changed |= new != ins[at]
            ins[at] = new
    return outs


def live_in(block: Block, out: frozenset[int]) -> frozenset[int]:
    """The registers that are live where a block begins."""
    writes = {d for inst in block.insts for d in inst.defs}
    return frozenset(_upward(block.insts) | (out - writes))


def _upward(insts: Sequence[Inst]) -> set[int]:
    """What is read before it is written here."""
    read: set[int] = set()
    written: set[int] = set()
    for inst in insts:
        read |= set(real(inst.uses)) - written
        written |= set(inst.defs)
    return read


def without_dead(program: Program) -> Program:
    """The program without instructions whose results nobody reads."""
    blocks = program.blocks
    while True:
        outs = live_out(blocks)
        shorter = tuple(_live_part(block, out) for block, out in zip(blocks, outs, strict=True))
        if sum(len(b.insts) for b in shorter) == sum(len(b.insts) for b in blocks):
            return replace(program, blocks=blocks)
        blocks = shorter


def _live_part(block: Block, out: frozenset[int]) -> Block:
    live = set(out)
    kept: list[Inst] = []
    for inst in reversed(block.insts):
        effect = inst.target or inst.op in ("params", "cmp", "cmpi") or not inst.defs
        if not effect and not any(d in live or d == FLAGS for d in inst.defs):
            continue
        live -= set(inst.defs)
        live |= set(inst.uses)
        kept.append(inst)
    return replace(block, insts=kept[::-1])


@dataclass(frozen=True)
class Order:
    """The dependences of a block: by instruction those that must come before and after it."""

    before: tuple[frozenset[int], ...]
    after: tuple[tuple[int, ...], ...]
    floating: frozenset[int]  # pointers whose accesses may pass their one addition


def dependences(insts: Sequence[Inst]) -> Order:
    """What must come before what."""
    floating = _floating(insts)
    before: list[set[int]] = [set() for _ in insts]
    writer: dict[int, int] = {}
    readers: dict[int, list[int]] = {}
    loads: dict[str, list[int]] = {}
    stores: dict[str, list[int]] = {}
    for at, inst in enumerate(insts):
        for use in inst.uses:
            if use in writer and not _passes(insts[writer[use]], inst, use, floating):
                before[at].add(writer[use])
            readers.setdefault(use, []).append(at)
        for register in inst.defs:
            earlier = (r for r in readers.get(register, ()) if r != at)
            before[at] |= {r for r in earlier if not _passes(inst, insts[r], register, floating)}
            if register in writer and writer[register] != at:
                before[at].add(writer[register])
            writer[register] = at
            readers[register] = [r for r in readers.get(register, ()) if r == at]
        if inst.memory is not None:
            buffer = inst.memory.buffer
            others = list(stores.get(buffer, ()))
            if inst.op.startswith("str"):
                others += loads.get(buffer, ())
            before[at] |= {o for o in others if _conflict(insts[o], inst)}
            (stores if inst.op.startswith("str") else loads).setdefault(buffer, []).append(at)
        if inst.target:
            before[at] |= set(range(at))
    for at, inst in enumerate(insts):
        if inst.op == "params":
            for later in range(at + 1, len(insts)):
                before[later].add(at)
    after: list[list[int]] = [[] for _ in insts]
    for at, those in enumerate(before):
        for other in those:
            after[other].append(at)
    return Order(tuple(map(frozenset, before)), tuple(map(tuple, after)), floating)


def _floating(insts: Sequence[Inst]) -> frozenset[int]:
    """Pointers that are written once in the block, by the addition of a constant, and otherwise
    only carry accesses whose immediates reach on both sides of it."""
    written: dict[int, list[Inst]] = {}
    for inst in insts:
        for register in inst.defs:
            written.setdefault(register, []).append(inst)
    result = {r for r, by in written.items() if len(by) == 1 and _step(by[0], r) is not None}
    moved: set[int] = set()
    for inst in insts:
        for register in result & set(inst.uses):
            step = _step(written[register][0], register)
            assert step is not None
            if inst is written[register][0]:
                moved.add(register)
            elif inst.memory is None or inst.base != register or inst.memory.scale is not None:
                if register not in moved or inst.memory is not None:
                    result = result - {register}
            elif register in inst.uses[: len(inst.uses) - 1] and inst.op.startswith("str"):
                result = result - {register}
            else:
                here = inst.memory.offset + (step if register in moved else 0)
                if not (offset_fits(here) and offset_fits(here - step)):
                    result = result - {register}
    return frozenset(result)


def _step(inst: Inst, register: int) -> int | None:
    """The constant that an instruction adds to a pointer."""
    if inst.memory is not None and inst.memory.post and inst.base == register:
        return inst.memory.post
    if inst.advances and inst.imm is not None and inst.defs == inst.uses == (register,):
        return inst.imm if inst.op == "addi" else -inst.imm
    return None


def _passes(write: Inst, read: Inst, register: int, floating: frozenset[int]) -> bool:
    """Whether an access and the addition to its pointer may change places."""
    if register not in floating or _step(write, register) is None:
        return False
    return read is not write and read.memory is not None and read.base == register


def _conflict(first: Inst, second: Inst) -> bool:
    """Whether two accesses to one buffer may touch the same bytes."""
    a, b = first.memory, second.memory
    assert a is not None and b is not None
    return a.form != b.form or _overlap(a, b)


def _overlap(a: Memory, b: Memory) -> bool:
    return a.place < b.place + b.size and b.place < a.place + a.size


def settle(insts: Sequence[Inst], order: Sequence[int], floating: frozenset[int]) -> list[Inst]:
    """The instructions in a new order, with the immediates of accesses that have passed the
    addition to their pointer corrected."""
    moved_in: dict[int, int] = {}
    for at, inst in enumerate(insts):
        for register in floating & set(inst.defs):
            moved_in[register] = at
    place = {number: at for at, number in enumerate(order)}
    result: list[Inst] = []
    for number in order:
        inst = insts[number]
        if inst.memory is not None and inst.base in moved_in:
            writer = moved_in[inst.base]
            step = _step(insts[writer], inst.base)
            assert step is not None
            was, is_now = number > writer, place[number] > place[writer]
            shift = (-step if is_now else 0) - (-step if was else 0)
            if number != writer and shift:
                memory = replace(inst.memory, offset=inst.memory.offset + shift)
                inst = replace(inst, memory=memory)
        result.append(inst)
    return result


def with_post_index(insts: Sequence[Inst], limit: int) -> list[Inst]:
    """Additions to floating pointers done by an access that has no offset."""
    result = list(insts)
    for register in sorted(_floating(insts)):
        adder = next(at for at, i in enumerate(result) if register in i.defs)
        step = _step(result[adder], register)
        assert step is not None
        if result[adder].memory is not None or abs(step) > limit:
            continue
        for at, inst in enumerate(result):
            memory = inst.memory
            if memory is None or inst.base != register:
                continue
            zero = memory.offset + (step if at > adder else 0) == 0
            alone = (
                inst.uses.count(register) == 1 and len(inst.uses) - inst.op.startswith("str") == 1
            )
            if zero and alone and memory.scale is None:
                result = _merged(result, adder, at, register, step)
                break
    return result


def _merged(insts: list[Inst], adder: int, at: int, register: int, step: int) -> list[Inst]:
    """``insts`` with the addition ``adder`` done by access ``at``: accesses behind that count from
    the new place."""
    result: list[Inst] = []
    for number, inst in enumerate(insts):
        memory = inst.memory
        if number == adder:
            continue
        if number == at:
            assert memory is not None
            defs = (*inst.defs, register)
            inst = replace(inst, defs=defs, memory=replace(memory, offset=0, post=step))
        elif memory is not None and inst.base == register:
            here = memory.offset + (step if number > adder else 0)
            offset = here - step if number > at else here
            inst = replace(inst, memory=replace(memory, offset=offset))
        result.append(inst)
    return result
