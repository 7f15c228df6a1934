"""Random shapes of convolution, depthwise, dense and pooling: exact on a core, and what they cost.

In: a seed and how many. Out: per shape whether it equals LiteRT's reference kernels (it must), its
multiply-accumulates and the modelled cycles of the core. The tests run a few for each core;
``python -m tests.models.shape_sweep 500 cortex-m4`` runs many and prints cycles per MAC by kind.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import click
import numpy as np

from tests.compiled import measure_models
from tests.litert import run_litert
from tests.op.single_op_models import (
    ConvCase,
    Model,
    conv_model,
    data_of,
    op_model,
    quantized,
)
from utvm.ir.dtype import DType

BATCH = 20
MOST_MACS = 400_000
WINDOWS = ((1, 1), (1, 1), (3, 3), (3, 3), (5, 5), (3, 1), (1, 5), (2, 2), (7, 7), (4, 3))
CHANNELS = (1, 2, 3, 4, 5, 7, 8, 12, 13, 16, 20, 24, 32, 40, 48, 64)
KINDS = ("CONV_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "POOL")


@dataclass(frozen=True)
class Cost:
    """What one shape took; ``macs`` is 0 for pooling."""

    kind: str
    note: str
    macs: int
    cycles: int


def random_model(rng: np.random.Generator) -> tuple[str, Model]:
    """A model of one operator; sizes keep an emulated run short."""
    kind = str(rng.choice(KINDS))
    if kind == "FULLY_CONNECTED":
        return kind, _dense(rng)
    if kind == "POOL":
        return kind, _pool(rng)
    while True:
        case = _convolution(rng, kind)
        fits = min(case.out_shape) > 0 and _macs(case) <= MOST_MACS
        if fits:
            return kind, conv_model(rng, case)


def _convolution(rng: np.random.Generator, kind: str) -> ConvCase:
    height, width = (int(n) for n in rng.integers(1, 20, 2))
    depth = int(rng.choice(CHANNELS))
    window = WINDOWS[rng.integers(len(WINDOWS))]
    channels = int(rng.choice(CHANNELS))
    if kind == "DEPTHWISE_CONV_2D":
        channels = depth * int(rng.choice((1, 1, 1, 2, 3)))
    stride = int(rng.choice((1, 1, 1, 2, 3)))
    strides = (stride, stride if rng.random() < 0.8 else int(rng.integers(1, 4)))
    dilated = stride == 1 and rng.random() < 0.15
    return ConvCase(
        kind,
        DType.INT8,
        (int(rng.choice((1, 1, 1, 2))), height, width, depth),
        window,
        channels,
        (1, 1) if dilated else strides,
        (2, 2) if dilated else (1, 1),
        str(rng.choice(("SAME", "SAME", "VALID"))),
        str(rng.choice(("NONE", "RELU", "RELU6"))),
        per_channel=bool(rng.random() < 0.8),
    )


def _macs(case: ConvCase) -> int:
    taps = case.filter[0] * case.filter[1] * int(np.prod(case.out_shape))
    return taps * (1 if case.kind == "DEPTHWISE_CONV_2D" else case.shape[3])


def _dense(rng: np.random.Generator) -> Model:
    rows, depth, outputs = int(rng.choice((1, 1, 1, 3))), *map(int, rng.integers(1, 300, 2))
    return conv_model(rng, ConvCase("CONV_2D", DType.INT8, (1, 1, rows, depth), (1, 1), outputs))


def _pool(rng: np.random.Generator) -> Model:
    window = tuple(int(n) for n in rng.integers(1, 6, 2))
    strides = tuple(int(n) for n in rng.integers(1, 4, 2))
    shape = (1, *(int(n) for n in rng.integers(5, 20, 2)), int(rng.choice(CHANNELS)))
    padding = str(rng.choice(("SAME", "VALID")))
    sizes = [
        -(-extent // stride) if padding == "SAME" else (extent - taps) // stride + 1
        for extent, taps, stride in zip(shape[1:3], window, strides, strict=True)
    ]
    quant = quantized(rng, DType.INT8, 0.05)
    return op_model(
        str(rng.choice(("AVERAGE_POOL_2D", "MAX_POOL_2D"))),
        [data_of(rng, DType.INT8, shape)],
        [quant],
        (1, *sizes, shape[3]),
        quant,
        version=2,
        padding=padding,
        filter_height=window[0],
        filter_width=window[1],
        stride_h=strides[0],
        stride_w=strides[1],
        fused_activation_function="NONE",
    )


def sweep(seed: int, count: int, target: str) -> Iterator[Cost]:
    """Runs ``count`` shapes; AssertionError for one that is not exact."""
    rng = np.random.default_rng(seed)
    for first in range(0, count, BATCH):
        chosen = [random_model(rng) for _ in range(min(BATCH, count - first))]
        models = [(model.data, model.inputs) for _, model in chosen]
        for (kind, model), (outputs, macs, cycles) in zip(
            chosen, measure_models(models, target), strict=True
        ):
            for found, expected in zip(outputs, run_litert(model.data, model.inputs), strict=True):
                np.testing.assert_array_equal(found, expected, model.note)
            yield Cost(kind, model.note, macs, cycles)


def main() -> None:
    """Prints cycles per MAC of many shapes: by kind, and the dearest ones."""
    count, target = int(sys.argv[1]), sys.argv[2]
    by_kind: dict[str, list[Cost]] = defaultdict(list)
    for cost in sweep(2026, count, target):
        by_kind[cost.kind].append(cost)
    click.echo(f"{sum(map(len, by_kind.values()))} shapes equal LiteRT on {target}")
    for kind, costs in sorted(by_kind.items()):
        large = [c for c in costs if c.macs >= 20_000] if kind != "POOL" else []
        rates = sorted((c.cycles / c.macs, c.note) for c in large)
        if rates:
            median = rates[len(rates) // 2][0]
            click.echo(
                f"{kind}: {len(rates)} of 20000 MACs and more, median {median:.2f} cycles a MAC"
            )
            for rate, note in rates[-3:]:
                click.echo(f"    {rate:.2f} {note}")


if __name__ == "__main__":
    main()
