"""Assembled micro functions: read as loops and choices, priced as the emulator prices them.

Instructions are exact wherever no choice depends on data; cycles come close, since blocks are
priced as they follow each other. A text that is not what its loop IR asks for is not guessed at.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.codegen.thumb.kernels import block
from tests.codegen.thumb.programs import Result, run_cases
from tests.codegen.thumb.test_blocks import small_case
from utvm.codegen.forecast_assembly import Choice, Loop, Straight, parse_line, read_assembly
from utvm.codegen.forecast_price import Forecast, price_call
from utvm.codegen.thumb import assemble
from utvm.codegen.thumb.ops import ALU, BRANCH, EXTEND, LOAD, MULTIPLY, SATURATE, SIMPLE, STORE
from utvm.ir.dtype import DType
from utvm.ir.loop import (
    Binary,
    Buffer,
    Function,
    If,
    Imm,
    Load,
    Store,
    Var,
    loop,
)
from utvm.target.costs import Costs
from utvm.target.target import Target, load_target

X = Buffer("x", DType.INT32, (8,), "input")
Y = Buffer("y", DType.INT32, (8,), "output")
ROUND = Var("i")


def forecast(function: Function, target: Target, **scalars: int) -> Forecast:
    tree = read_assembly(assemble(function, "micro", target), function.body)
    assert tree is not None
    assert target.costs is not None
    return price_call(tree, scalars, target.pipeline, target.costs)


def check(result: Result, found: Forecast) -> None:
    assert found.instructions == result.instructions
    assert found.cycles == pytest.approx(result.cycles, rel=0.03, abs=12)


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m7"])
def test_equals_the_emulator(target: str, tmp_path: Path) -> None:
    shapes = [(2, 4, True, 8, 4), (2, 4, False, 4, 8), (1, 8, True, 4, 4), (2, 2, False, 3, 1)]
    cases = []
    for pixels, filters, wide, unrolled, rounds in shapes:
        for pairs, groups in ((False, 0), (True, 0), (True, 1), (True, 3)):
            function = block(
                pixels, filters, wide=wide, unrolled=unrolled, rounds=rounds, pairs=pairs
            )
            scalars = {"groups": groups} if pairs else {}
            cases.append(small_case(function, wide, **scalars))
    results = run_cases(cases, tmp_path, target)
    for case, result in zip(cases, results, strict=True):
        check(result, forecast(case.function, load_target(target), **case.scalars))


def choosing(condition: Binary, else_too: bool) -> Function:
    """Copies elements for which a condition holds; else stores twice their sum."""
    taken = (Store(Y, (ROUND,), Load(X, (ROUND,))),)
    other = (Store(Y, (ROUND,), Load(X, (ROUND,)) + Load(X, (Imm(0),))),)
    body = loop(ROUND, 8, If(condition, taken, other if else_too else ()))
    return Function("choosing", (X,), (Y,), (body,))


@pytest.mark.parametrize("else_too", [False, True])
def test_a_choice_by_the_loop_is_known(else_too: bool, tmp_path: Path) -> None:
    function = choosing(Binary("<", ROUND, Imm(3)), else_too)
    target = load_target("cortex-m4")
    (result,) = run_cases([small_case(function, False)], tmp_path, target.name)
    check(result, forecast(function, target))


def test_a_choice_by_data_is_halved() -> None:
    function = choosing(Binary("<", Load(X, (ROUND,)), Imm(3)), else_too=False)
    target = load_target("cortex-m4")
    never, always = (
        forecast(choosing(Binary(op, ROUND, Imm(100)), else_too=False), target) for op in (">", "<")
    )
    assert never.instructions < forecast(function, target).instructions < always.instructions


def test_the_tree_has_the_statements() -> None:
    function = choosing(Binary("<", ROUND, Imm(3)), else_too=True)
    text = assemble(function, "micro", load_target("cortex-m4"))
    tree = read_assembly(text, function.body)
    assert tree is not None
    (found,) = (node for node in tree if isinstance(node, Loop))
    assert found.stmt is function.body[0]
    assert [node.stmt for node in found.body if isinstance(node, Choice)] == [found.stmt.body[0]]


def test_another_text_is_refused() -> None:
    function = choosing(Binary("<", ROUND, Imm(3)), else_too=False)
    text = assemble(function, "micro", load_target("cortex-m4"))
    assert read_assembly(text.replace("for i", "for j"), function.body) is None
    assert read_assembly(text, ()) is None
    assert read_assembly("", function.body) is None


def test_rounds_follow_the_scalars() -> None:
    function = block(2, 4, wide=True, unrolled=4, rounds=3, pairs=True)
    target = load_target("cortex-m7")
    one, two, five = (forecast(function, target, groups=n).instructions for n in (1, 2, 5))
    assert five - two == 3 * (two - one)


@pytest.mark.parametrize(
    ("text", "kind", "defs", "sources", "shifted"),
    [
        ("add r0, r1, r2", SIMPLE, (0,), (1, 2), ()),
        ("add r0, r1, r2, lsl #5", ALU, (0,), (1,), (2,)),
        ("and r0, r1, #255", ALU, (0,), (1,), ()),
        ("cmp r0, lr", ALU, (), (0, 14), ()),
        ("smmul r3, r4, r5", MULTIPLY, (3,), (4, 5), ()),
        ("smull r0, r1, r2, r3", MULTIPLY, (0, 1), (2, 3), ()),
        ("sxtb16 r0, r1, ror #8", EXTEND, (0,), (1,), ()),
        ("pkhbt r0, r1, r2, lsl #16", EXTEND, (0,), (1,), (2,)),
        ("ssat r0, #8, r1, asr #9", SATURATE, (0,), (), (1,)),
        ("qadd8 r0, r1, r2", SATURATE, (0,), (1, 2), ()),
        ("bne .Lmicro_2", BRANCH, (), (), ()),
    ],
)
def test_lines_become_parts(
    text: str, kind: str, defs: tuple[int, ...], sources: tuple[int, ...], shifted: tuple[int, ...]
) -> None:
    part = parse_line(text).part
    assert (part.kind, part.defs, part.sources, part.shifted) == (kind, defs, sources, shifted)


def test_accumulators_and_addresses() -> None:
    assert parse_line("smlad r0, r1, r2, r3").part.accumulator == (3,)
    assert parse_line("smlal r0, r1, r2, r3").part.accumulator == (0, 1)
    load = parse_line("ldr r0, [r1], #8").part
    assert (load.kind, load.defs, load.address, load.moved, load.bank) == (LOAD, (0,), (1,), 1, 0)
    store = parse_line("strb r4, [sp, #12]").part
    assert (store.kind, store.data, store.address, store.bank) == (STORE, (4,), (13,), 12)
    assert parse_line("ldr r0, [r1, r2, lsl #2]").part.scaled
    assert parse_line("push {r4, r5, lr}").words == 3


@pytest.mark.parametrize(
    ("target", "cycles"), [("cortex-m4", 2 + 3 + 1 + 2 + 14), ("cortex-m7", 20)]
)
def test_floats_have_prices_of_their_own(target: str, cycles: int) -> None:
    texts = ("vldr s0, [r0]", "vfma.f32 s1, s0, s2", "vadd.f32 s3, s1, s1", "vstr s3, [r1, #4]")
    lines = tuple(map(parse_line, (*texts, "vdiv.f32 s4, s3, s1")))
    pipeline = load_target(target).pipeline
    found = price_call((Straight(lines),), {}, pipeline, Costs())
    assert found.instructions == 5
    assert found.cycles == pytest.approx(cycles + pipeline.branch_cycles - 1, abs=3)


def test_registers_in_a_list_count() -> None:
    pushed = [parse_line(text).words for text in ("push {r4, lr}", "vpush {s16, s17, s18}")]
    assert pushed == [2, 3]


def test_the_end_of_a_loop_is_mispredicted() -> None:
    function = choosing(Binary("<", ROUND, Imm(100)), else_too=True)
    target = load_target("cortex-m7")
    tree = read_assembly(assemble(function, "micro", target), function.body)
    assert tree is not None
    with_cost, without = (
        price_call(tree, {}, target.pipeline, Costs(mispredict_cycles=cycles)).cycles
        for cycles in (7, 0)
    )
    assert with_cost == without + 7
