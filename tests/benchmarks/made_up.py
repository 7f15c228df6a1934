"""Made-up results: round figures, so that what a report makes of them can be said by heart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from benchmarks.measure import Flash, Key, Layer, Measurement, Ram, Refusal
from benchmarks.results import Result

KEY = Key("net", "cortex-m4", "zig", "cycles")
MEASUREMENT = Measurement(
    key=KEY,
    compiler="compiler 1.0",
    macs=4_000_000,
    parameter_bytes=1000,
    instructions=3_000_000,
    cycles=2_000_000,
    flash=Flash(20_000, 1100),
    ram=Ram(400, 20, 8),
    stack_bytes=100,
    exact=True,
    cpu_seconds=1.5,
    layers=(Layer("conv_0", "conv2d", 4_000_000, 1_900_000), Layer("pool_1", "pool", 0, 9)),
)
BALANCED = replace(MEASUREMENT, key=replace(KEY, objective="balanced"), cycles=2_500_000)
REFUSAL = Refusal(Key("odd", "cortex-m4"), "operator 3 | SVDF: not supported; hint: none")
RESULTS = [Result("abc", BALANCED), Result("abc", MEASUREMENT), Result("def+", REFUSAL)]

PEERS: dict[str, Any] = {
    "net": {
        "cmsis_nn": {"m4_cycles": 5_000_000},
        "others": [["fast", 2_250_000, 0, False], ["slow", 9_000_000, 7_000_000]],
    },
}
GOALS: dict[str, Any] = {
    "cycles": {"net": {"untuned": {"m4": 1.6, "m7": 1.0}, "tuned": {"m4": 1.5, "m7": 0.9}}},
    "code_bytes": {"size": 16_384, "balanced": 32_768},
    "constants": {"size": 1.1, "balanced": 1.5},
    "size_cycles": {},
}
