"""The allocator under pressure, and walking pointers in the text.

Programs with more values than registers stay exact, and no two live values share a register. The
accesses of a sequential stream share one pointer at all depths.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.codegen.thumb.kernels import block
from tests.codegen.thumb.programs import Case, check_cases, random_case
from utvm.codegen.thumb import allocation_of
from utvm.codegen.thumb.flow import live_out
from utvm.codegen.thumb.isa import THUMB2
from utvm.codegen.thumb.machine import members
from utvm.ir.dtype import DType
from utvm.ir.loop import (
    Alloc,
    Binary,
    Buffer,
    Cast,
    Expr,
    Function,
    If,
    Imm,
    Let,
    Load,
    Stmt,
    Store,
    Var,
    loop,
)
from utvm.target.target import load_target

I8, I32 = DType.INT8, DType.INT32
M4 = load_target("cortex-m4")


def crowd(count: int) -> Function:
    """``count`` accumulators in one loop."""
    x = Buffer("x", I32, (count * 8,), "input")
    out = Buffer("out", I32, (count,), "output")
    k = Var("k")
    accs = [Buffer(f"acc{n}", I32, (), "register") for n in range(count)]
    body: list[Stmt] = []
    for acc in accs:
        body += [Alloc(acc), Store(acc, (), Imm(0))]
    sums = [Store(a, (), Load(a) + (Load(x, (k * count + n,)) >> 8)) for n, a in enumerate(accs)]
    body.append(loop(k, 8, *sums))
    body += [Store(out, (Imm(n),), Load(acc)) for n, acc in enumerate(accs)]
    return Function("crowd", (x,), (out,), tuple(body))


@pytest.mark.parametrize("count", [10, 11, 12, 20, 40])
def test_no_two_live_values_share_a_register(count: int) -> None:
    allocation = allocation_of(crowd(count), M4)
    program, colors = allocation.program, allocation.colors
    for block_, out in zip(program.blocks, live_out(program.blocks), strict=True):
        live = out
        for inst in reversed(block_.insts):
            held = [colors[r] for r in members(live | inst.writes)]
            assert len(set(held)) == len(held)
            assert set(held) <= set(THUMB2.registers)
            live = live & ~inst.writes | inst.reads
    assert allocation.slots > 0 or count <= 11


def test_crowds_are_exact(tmp_path: Path) -> None:
    check_cases([random_case(crowd(count), count) for count in (10, 12, 20, 40)], tmp_path)


def test_a_stream_takes_one_pointer() -> None:
    """Biases, weights in the inner loop, multipliers behind it: one register, moved by accesses."""
    allocation = allocation_of(block(2, 4, wide=True, unrolled=4, rounds=4), M4)
    insts = [inst for block_ in allocation.program.blocks for inst in block_.insts]
    through = [i for i in insts if i.memory is not None and i.memory.buffer == "stream"]
    (pointer,) = {i.base for i in through}
    moved = [i for i in insts if pointer in i.defs]
    assert sorted(i.op for i in moved) == ["ldr", "ldr", "ldr", "params"]
    assert [i.memory.post for i in moved if i.memory is not None] == [16, 64, 16]


def test_many_parameters_are_read_from_the_stack(tmp_path: Path) -> None:
    buffers = tuple(Buffer(f"in{n}", I32, (4,), "input") for n in range(6))
    out = Buffer("out", I32, (4,), "output")
    i, n, m = Var("i"), Var("n"), Var("m")
    total: Expr = n - m
    for buffer in buffers:
        total = total + (Load(buffer, (i,)) >> 8)
    function = Function("many", buffers, (out,), (loop(i, 4, Store(out, (i,), total)),),
                        scalars=(n, m))  # fmt: skip
    case = random_case(function, 1, {"n": 100, "m": -7})
    for toolchain in ("zig", "gcc"):
        check_cases([case], tmp_path, "cortex-m4", toolchain)


def test_far_places_tables_and_strides_at_run_time(tmp_path: Path) -> None:
    """Offsets beyond an immediate, an index that is loaded, a stride that is a scalar."""
    x = Buffer("x", I8, (12000,), "input")
    table = Buffer("table", I8, (256,), "input")
    out = Buffer("out", I8, (96,), "output")
    y, i, s = Var("y"), Var("i"), Var("stride")
    far = Load(x, (y * s + i + 9000,))
    index = Binary("&", Load(x, (y * s + i,)), Imm(127, I8))

    place = Cast(I32, index)
    body = loop(
        y, 4,
        loop(i, 12, Store(out, (y * 12 + i,), far), Store(out, (y * 12 + i + 48,),
                                                          Load(table, (place,)))),
    )  # fmt: skip
    function = Function("far", (x, table), (out,), (body,), scalars=(s,))
    check_cases([random_case(function, 3, {"stride": 61})], tmp_path, "cortex-m7")


def test_memory_that_is_written_is_read_again(tmp_path: Path) -> None:
    out = Buffer("out", I32, (10,), "output")
    i = Var("i")
    first = [Store(out, (Imm(n),), Imm(n + 1)) for n in range(2)]
    fib = Store(out, (i + 2,), Load(out, (i,)) + Load(out, (i + 1,)))
    even = If(Binary("==", Binary("&", i, Imm(1)), Imm(0)), (fib,), (Store(out, (i + 2,), i),))
    function = Function("fibonacci", (), (out,), (*first, loop(i, 8, even)))
    case = Case(function, {"out": np.zeros(10, np.int32)}, {})
    check_cases([case], tmp_path)


def shared_operand(kind: DType) -> Function:
    """Twenty operands of a type: all are needed for a sum, and each once more behind it."""
    x, out = Buffer("x", kind, (20,), "input"), Buffer("out", I8, (20,), "output")
    values = [Let(Var(f"v{n}"), Cast(I32, Load(x, (Imm(n),)))) for n in range(20)]
    total: Expr = Imm(0)
    for let in values:
        total = total + let.var
    body: list[Stmt] = [*values, Let(Var("total"), total)]
    for n, let in enumerate(values):
        body.append(Store(out, (Imm(n),), Cast(I8, (let.var + Var("total")) >> 5)))
    return Function("shared", (x,), (out,), tuple(body))


@pytest.mark.parametrize(("kind", "again"), [(I8, False), (DType.INT16, True)])
def test_what_a_result_may_overwrite_is_loaded_once(kind: DType, again: bool) -> None:
    """A result of the same element size may take its operand's memory."""
    allocation = allocation_of(shared_operand(kind), M4)
    insts = [inst for block_ in allocation.program.blocks for inst in block_.insts]
    loads = [i for i in insts if i.memory is not None and i.memory.buffer == "x"]
    assert (len(loads) > 20) == again
