"""Fits the table ``[costs]`` of a target to what the emulator measures on random networks.

In: the name of a target and how many networks to draw. Out: on standard output, how far the
forecast is off per kind of kernel, and a table to copy into ``target/data/<target>.toml``. The
networks have layers of common sizes with random shapes; none is a model that forecasts are judged
by. Run it from the repository: ``python -m tools.calibrate_forecast cortex-m4 --portable-c``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests import random_networks as drawn
from tests.random_networks import Network
from utvm.codegen.forecast import Forecast, Forecaster
from utvm.codegen.forecast_code import MISPREDICTED
from utvm.device.crt import crt_include_dir, crt_sources
from utvm.device.elf import read_elf
from utvm.device.emulator import MemoryRegion, run_elf
from utvm.device.link import build_elf
from utvm.device.toolchain import find_toolchain
from utvm.driver.pipeline import Compiled, compile_graph
from utvm.importers.tflite import import_tflite
from utvm.op.registry import find_op
from utvm.target.board import load_board
from utvm.target.costs import OPERATIONS, Costs
from utvm.target.target import Target, load_target

Array = npt.NDArray[np.float64]
FITS = 8
FAR = 0.15
"""Relative errors below this count by their square, those above by their size."""
LARGER = 0.3
"""How much more a large kernel counts: the power of its cycles."""
TRUST = 0.03
"""Weight of the table as it is against what is measured: what no network asks for stays."""


@dataclass(frozen=True)
class Row:
    """One kernel: its counted operations, what is priced exactly, and what was measured."""

    op: str
    operations: dict[str, float]
    exact: Forecast
    measured: Forecast


def conv(net: Network) -> None:
    """A convolution with as many channels as real networks have."""
    x = net.current
    kh, kw = net.choice((1, 1), (3, 3), (3, 3), (5, 5), (7, 3))
    stride = net.choice(1, 1, 2)
    filters = net.choice(8, 12, 16, 24, 32, 40, 64)
    rows, columns = (-(-n // stride) for n in x.shape[1:3])
    weight, scales, typical = net.weights((filters, kh, kw, x.shape[3]), 0)
    size = net.magnitude(x) * typical * np.sqrt(kh * kw * x.shape[3])
    y = net.output((1, rows, columns, filters), size)
    net.builder.op(
        "CONV_2D",
        [x.index, weight, net.bias(x, scales, filters)],
        [y.index],
        padding="SAME",
        stride_h=stride,
        stride_w=stride,
        fused_activation_function=net.choice(*drawn.ACTIVATIONS),
    )
    net.older.append(y)


LAYERS: tuple[Callable[[Network], None], ...] = (
    *(conv, conv, conv, drawn.depthwise, drawn.depthwise, drawn.pool, drawn.arithmetic),
    *(drawn.unary, drawn.squash, drawn.mean, drawn.pad),
)


def network(seed: int, dtype: str) -> bytes:
    """A model of a few layers."""
    net = Network(np.random.default_rng(1000 + seed), dtype)
    side = net.integer(6, 20)
    shape = (1, side, net.choice(side, side // 2, 1 + side // 3), net.choice(1, 3, 8, 16, 24, 48))
    net.older.append(net.add(shape, 0.05 if dtype != "int16" else 0.0002))
    first = net.current.index
    for _ in range(net.integer(2, 4)):
        net.choice(*LAYERS)(net)
    drawn.classify(net)
    return net.builder.build([first], [net.current.index])


def measure(compiled: Compiled, target: Target, toolchain: str) -> dict[str, Forecast]:
    """Cycles and instructions of each kernel, by its C name, for inputs of zeros."""
    board = load_board(target.default_board)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in compiled.sources.items():
            (folder / file).write_text(text, encoding="utf-8")
        sources = [folder / file for file in compiled.sources if file.endswith(".c")]
        elf = folder / "model.elf"
        sources += crt_sources(target, board)
        found = find_toolchain(toolchain, target)
        build_elf(found, target, board, sources, [folder, crt_include_dir()], elf, optimize="-O2")
        image = read_elf(elf)
    module = compiled.module
    size = sum(module.tensors[name].size_bytes for name in module.inputs)
    stack = image.symbols["__utvm_stack_low"].address, image.symbols["__utvm_stack_top"].address
    result = run_elf(
        image,
        cpu=target.cpu,
        cycle_model=target.cycle_model,
        memories=[
            MemoryRegion(m.name, m.origin, m.size_bytes, m.kind == "ram", True)
            for m in board.memories
        ],
        stack=stack,
        files={"utvm_in.bin": np.random.default_rng(0).bytes(size)},
        measure=compiled.run_symbol,
        operators=list(compiled.operator_symbols),
    )
    functions = result.invocations[-1].functions
    return {f.symbol: Forecast(f.cycles, f.instructions) for f in functions}


def rows_of(model: bytes, target: Target, portable_c: bool, toolchain: str) -> list[Row]:
    """Every kernel of a model."""
    graph = import_tflite(model, name="model", find_op=find_op)
    compiled = compile_graph(graph, target, portable_c=portable_c)
    measured = measure(compiled, target, toolchain)
    forecaster = Forecaster(compiled.module, target, target.costs or Costs())
    rows = []
    for symbol, function in compiled.operator_symbols.items():
        operations, exact = forecaster.work(function)
        op = f"{function.op} {function.inputs[0].dtype.value}"
        rows.append(Row(op, operations, exact, measured[symbol]))
    return rows


def fit(rows: Sequence[Row], costs: Costs, kind: str) -> dict[str, float]:
    """The costs that make relative errors small, none below zero.

    Kernels that are far off weigh less: a compiler may find that a result is always the same.
    """
    before = np.array([getattr(costs, kind)[name] for name in OPERATIONS])
    lines, wanted = [], []
    for row in rows:
        size, exact = getattr(row.measured, kind), getattr(row.exact, kind)
        if kind == "cycles":
            exact += row.operations.get(MISPREDICTED, 0) * costs.mispredict_cycles
        lines.append([row.operations.get(name, 0) / size for name in OPERATIONS])
        wanted.append((size - exact) / size)
    matrix, goal = np.array(lines), np.array(wanted)
    sizes = np.array([getattr(row.measured, kind) for row in rows]) ** LARGER
    shares = sizes / sizes.mean()
    inverse = TRUST * len(rows) / np.maximum(before, 0.3) ** 2
    found = before
    for _ in range(FITS):
        weights = shares / np.maximum(np.abs(matrix @ found - goal), FAR)
        weighted = matrix * weights[:, None]
        found = _descend(
            weighted.T @ matrix + np.diag(inverse), weighted.T @ goal + inverse * before, found
        )
    return dict(zip(OPERATIONS, found.tolist(), strict=True))


def _descend(left: Array, right: Array, start: Array) -> Array:
    """The smallest of a convex quadratic form without negative coordinates, one after the other."""
    found = start.copy()
    for _ in range(1000):
        for i in range(len(found)):
            found[i] = max(0.0, found[i] + (right[i] - left[i] @ found) / left[i, i])
    return found


def predicted(row: Row, costs: Costs, kind: str, prices: dict[str, float]) -> float:
    """A forecast with other prices."""
    total = float(getattr(row.exact, kind))
    for name, count in row.operations.items():
        if name != MISPREDICTED:
            total += count * prices[name]
        elif kind == "cycles":
            total += count * costs.mispredict_cycles
    return total


def report(rows: Sequence[Row], costs: Costs, kind: str, prices: dict[str, float]) -> None:
    """Errors by kind of kernel: how many, the usual ratio to what is measured, the usual error."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.op, []).append(row)
    for op, members in sorted(groups.items()):
        ratios = [predicted(r, costs, kind, prices) / getattr(r.measured, kind) for r in members]
        error = np.median(np.abs(np.array(ratios) - 1))
        print(f"# {kind:12} {op:26} {len(ratios):4} {np.median(ratios):5.2f} error {error:5.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--networks", type=int, default=24)
    parser.add_argument("--portable-c", action="store_true")
    parser.add_argument("--toolchain", default="zig")
    parser.add_argument("--dtypes", default="int8,int8,float32,int16")
    options = parser.parse_args()
    target = load_target(options.target)
    costs = target.costs or Costs()
    dtypes = options.dtypes.split(",")
    rows: list[Row] = []
    for seed in range(options.networks):
        model = network(seed, dtypes[seed % len(dtypes)])
        rows += rows_of(model, target, options.portable_c, options.toolchain)
    for kind in ("cycles", "instructions"):
        before = dict(getattr(costs, kind))
        report(rows, costs, kind, before)
        prices = fit(rows, costs, kind)
        print("# fitted:")
        report(rows, costs, kind, prices)
        print(f"\n[costs.{kind}]")
        for name, price in prices.items():
            print(f"{name} = {price:.2f}")


if __name__ == "__main__":
    main()
