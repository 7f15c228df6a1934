"""Forecasts: close to what the emulator measures, and right about what can be known exactly.

Whole networks are held to the bound that users are promised; small kernels show what is counted:
rounds and conditions of loops exactly, values of a loop that does not change them once, equal
values once, copies as calls.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.kept import Kept
from utvm.codegen.forecast import Forecast, forecast_function, forecast_module
from utvm.codegen.forecast_code import count_work
from utvm.codegen.forecast_operations import INTRINSICS as LISTED
from utvm.codegen.forecast_operations import operations_of
from utvm.driver.build import Build
from utvm.driver.inspect import forecast_kernels
from utvm.driver.load import Model, load_model
from utvm.driver.options import resolve_options
from utvm.driver.run import Run, run_build
from utvm.driver.tensors import random_inputs
from utvm.ir.dtype import DType
from utvm.ir.intrinsics import INTRINSICS
from utvm.ir.loop import (
    Alloc,
    Binary,
    Buffer,
    Call,
    Cast,
    Expr,
    For,
    Function,
    If,
    Imm,
    Invoke,
    Load,
    Module,
    Pointer,
    Stmt,
    Store,
    Var,
    loop,
)
from utvm.target.costs import OPERATIONS, Costs
from utvm.target.target import list_targets, load_target

REPOSITORY = Path(__file__).resolve().parents[2]
DIGITS = REPOSITORY / "examples" / "digits" / "digits.tflite"
CIFAR = REPOSITORY / "examples" / "cifar10_cnn" / "cifar10_cnn.graph"
MLPERF = ("ad01", "kws", "resnet8", "sww", "vww96")
WITHIN = 0.15
"""How far a network's cycles may be off."""
WITHIN_KERNEL = 0.4
"""The same for one kernel that takes at least a twentieth of them."""

X = Buffer("x", DType.INT32, (64, 64), "input")
Y = Buffer("y", DType.INT32, (64, 64), "output")
BYTES = Buffer("b", DType.INT8, (64, 64), "input")
ROW, COL = Var("i"), Var("j")


def built(
    model: Model,
    target: str,
    folder: Path,
    kept: Kept,
    portable_c: bool = False,
    objective: str = "balanced",
) -> tuple[Build, Run]:
    options = replace(resolve_options(target), portable_c=portable_c, objective=objective)
    build = kept.build(model, options, folder)
    return build, run_build(build, random_inputs(build.inputs))


def check(build: Build, run: Run) -> None:
    """Total and large kernels are close to what the run has cost."""
    assert run.cycles is not None
    kernels = forecast_kernels(build.compiled, build.options.target)
    assert [k.name for k in kernels] == [operator.name for operator in run.operators]
    assert sum(k.predicted_cycles for k in kernels) == pytest.approx(run.cycles, rel=WITHIN)
    for kernel, operator in zip(kernels, run.operators, strict=True):
        assert operator.cycles is not None and operator.instructions is not None
        if 20 * operator.cycles >= run.cycles:
            near = pytest.approx(operator.cycles, rel=WITHIN_KERNEL)
            assert kernel.predicted_cycles == near, kernel.name


@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7"])
def test_the_demo_is_forecast(target: str, kept: Kept, tmp_path: Path) -> None:
    check(*built(load_model(DIGITS), target, tmp_path, kept))


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m7"])
def test_portable_c_is_forecast(target: str, kept: Kept, tmp_path: Path) -> None:
    check(*built(load_model(DIGITS), target, tmp_path, kept, portable_c=True))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7"])
@pytest.mark.parametrize("name", MLPERF)
def test_the_mlperf_networks_are_forecast(
    name: str, target: str, shared_models: Path, kept: Kept, tmp_path: Path
) -> None:
    model = load_model(shared_models / f"mlperf_{name}_int8" / "model.tflite")
    check(*built(model, target, tmp_path, kept))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "portable_c"), [("cortex-m4", False), ("cortex-m7", False), ("cortex-m4", True)]
)
@pytest.mark.parametrize("name", ["ad01", "kws", "vww96"])
def test_micro_functions_that_layers_share_are_forecast(
    name: str, target: str, portable_c: bool, shared_models: Path, kept: Kept, tmp_path: Path
) -> None:
    """Turns of their inner loops, strides and blocks are scalars."""
    model = load_model(shared_models / f"mlperf_{name}_int8" / "model.tflite")
    check(*built(model, target, tmp_path, kept, portable_c, objective="size"))


@pytest.mark.slow
@pytest.mark.parametrize("target", ["cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7"])
def test_the_cifar10_network_is_forecast(
    target: str, shared_models: Path, kept: Kept, tmp_path: Path
) -> None:
    model = load_model(CIFAR, shared_models / "seed_cifar10_cnn" / "params.npz")
    check(*built(model, target, tmp_path, kept))


def kernel(*body: Stmt, in_place: bool = False) -> Function:
    places = (0,) if in_place else ()
    return Function("kernel", (X, BYTES), (Y,), tuple(body), in_place=places)


def counted(function: Function, costs: Costs | None = None) -> dict[str, float]:
    work = count_work(function, costs or Costs(), bool(function.in_place))
    return {name: count for name, count in work.operations.items() if count}


def put(value: Expr, *indices: Expr) -> Store:
    return Store(Y, indices, value)


def test_rounds_multiply() -> None:
    body = loop(ROW, 8, loop(COL, 16, put(Load(X, (ROW, COL)) + 5, ROW, COL)))
    found = counted(kernel(body))
    assert found["load"] == found["store"] == 8 * 16


def test_a_condition_on_loops_is_walked() -> None:
    condition = Binary("<", ROW + COL, Imm(5))
    body = loop(ROW, 8, loop(COL, 16, If(condition, (put(Load(X, (ROW, COL)) + 5, ROW, COL),))))
    assert counted(kernel(body))["store"] == 5 + 4 + 3 + 2 + 1


def test_a_condition_on_data_holds_half_the_time() -> None:
    condition = Binary("<", Load(X, (ROW, Imm(0))), Imm(5))
    assert counted(kernel(loop(ROW, 8, If(condition, (put(Imm(1), ROW, ROW),)))))["store"] == 4


def test_many_rounds_are_sampled() -> None:
    inner = For(COL, Imm(0), ROW, (put(Load(X, (ROW, COL)) + 5, ROW, COL),))
    rounds = 4000
    stores = counted(kernel(For(ROW, Imm(0), Imm(rounds), (inner,))))["store"]
    assert stores == pytest.approx(rounds * (rounds - 1) / 2, rel=0.01)


def test_what_a_loop_does_not_change_is_made_before_it() -> None:
    value = Load(X, (ROW, Imm(0))) * Load(X, (ROW, Imm(1))) + Load(X, (ROW, COL))
    body = loop(ROW, 8, loop(COL, 16, put(value, ROW, COL)))
    found = counted(kernel(body))
    assert found["load"] == 2 * 8 + 8 * 16
    assert found["multiply_add"] == 8 * 16
    body = loop(ROW, 8, loop(COL, 16, put(value, ROW, COL)))
    assert counted(kernel(body, in_place=True))["load"] == 3 * 8 * 16


def test_equal_values_are_made_once() -> None:
    value = Load(X, (ROW, Imm(3)))
    body = loop(ROW, 8, put(value * value, ROW, Imm(0)), put(value * value + 7, ROW, Imm(1)))
    found = counted(kernel(body))
    assert (found["load"], found["multiply"], found["store"]) == (8, 8, 16)


def test_what_a_register_held_is_another_value_later() -> None:
    total = Buffer("total", DType.INT32, (), "register")
    steps = tuple(Store(total, (), Load(total) * Load(X, (ROW, Imm(3)))) for _ in range(3))
    body = loop(ROW, 8, Alloc(total), Store(total, (), Imm(1)), *steps, put(Load(total), ROW, ROW))
    assert counted(kernel(body))["multiply"] == 24


def test_copies_call_the_library() -> None:
    body = loop(ROW, 8, loop(COL, 64, put(Load(X, (ROW, COL)), ROW, COL)))
    found = counted(kernel(body))
    assert (found["copy"], found["copied_word"]) == (8, 512)
    assert "load" not in found
    odd = loop(ROW, 8, loop(COL, 60, Store(BYTES, (ROW, COL), Load(BYTES, (ROW + 8, COL + 1)))))
    assert counted(kernel(odd))["shifted_word"] == 8 * 15
    fill = loop(ROW, 8, loop(COL, 60, Store(BYTES, (ROW, COL), Imm(3, DType.INT8))))
    assert counted(kernel(fill))["set_word"] == 8 * 15


def test_small_loops_are_unrolled() -> None:
    body = loop(COL, 64, put(Load(X, (COL, COL)) + 5, COL, COL))
    assert counted(kernel(body))["round"] == 64
    assert counted(kernel(body), Costs(unroll=30))["round"] < 16
    assert "round" not in counted(kernel(body), Costs(unroll=1000))


def test_values_without_registers_are_spilled() -> None:
    names = [Buffer(f"a{n}", DType.INT32, (), "register") for n in range(16)]
    steps = [Store(a, (), Load(a) + Load(X, (COL, Imm(n)))) for n, a in enumerate(names)]
    body = loop(COL, 64, *steps)
    declared = [part for a in names for part in (Alloc(a), Store(a, (), Imm(0)))]
    assert counted(kernel(*declared, body), Costs(registers=13))["spill"] >= 3 * 64
    assert "spill" not in counted(kernel(*declared, body), Costs(registers=40))


def test_narrow_loads_and_saturation() -> None:
    value = Cast(DType.INT32, Load(BYTES, (COL, COL))) * 3
    for low, high, operation in ((-128, 127, "clamp"), (-100, 127, "extreme")):
        clamped = Binary("min", Binary("max", value, Imm(low)), Imm(high))
        found = counted(kernel(loop(COL, 64, put(clamped, COL, COL))))
        assert found["load_signed"] == 64
        assert found[operation] == 64 * (1 if operation == "clamp" else 2)


@pytest.mark.parametrize("name", INTRINSICS)
def test_every_intrinsic_is_counted(name: str) -> None:
    intrinsic = INTRINSICS[name]
    arguments = tuple(Var(f"v{n}", dtype) for n, dtype in enumerate(intrinsic.args))
    operations, operands = operations_of(Call(name, arguments, intrinsic.result))
    assert operands == arguments
    assert operations and all(operation in OPERATIONS for operation, _ in operations)


def test_an_intrinsic_that_has_gone_is_not_listed() -> None:
    assert set(LISTED) <= set(INTRINSICS)


def invoking(scalar: Expr) -> tuple[Function, Module]:
    """A kernel that runs a micro function of ``scalar`` rounds, eight times; it stays in C."""
    n = Var("n")
    source, sink = (Buffer(b.name, b.dtype, (64,), b.scope) for b in (X, Y))
    micro = Function(
        "micro",
        (source,),
        (sink,),
        (For(COL, Imm(0), n, (Store(sink, (COL,), Load(source, (COL,)) * 3),)),),
        scalars=(n,),
    )
    pointers = (Pointer(X, Imm(0)), Pointer(Y, Imm(0)))
    function = kernel(loop(ROW, 8, Invoke("micro", pointers, (scalar,))))
    return function, Module("net", (), (), (function,), (), {}, micros=(micro,))


def test_micro_functions_in_c_count_with_their_integers() -> None:
    target = load_target("cortex-m3")

    def cycles(scalar: Expr) -> float:
        found = forecast_function(*invoking(scalar), target)
        assert isinstance(found, Forecast)
        return found.cycles

    assert cycles(Imm(60)) > 2 * cycles(Imm(20))
    assert cycles(ROW + 3) == pytest.approx(sum(cycles(Imm(n + 3)) for n in range(8)) / 8, rel=0.05)


@pytest.mark.parametrize("name", list_targets())
def test_targets_with_cycles_have_costs(name: str) -> None:
    target = load_target(name)
    function, module = invoking(Imm(3))
    if target.cycle_model:
        assert target.costs is not None
    found = forecast_module(module, target)
    assert (found is None) == (target.costs is None)
    assert (forecast_function(function, module, target) is None) == (target.costs is None)


def test_every_operation_is_priced_and_explained() -> None:
    for name in list_targets():
        costs = load_target(name).costs
        if costs is not None:
            assert set(costs.cycles) == set(costs.instructions) == set(OPERATIONS)
            assert costs.registers > 0
