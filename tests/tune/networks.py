"""A small network to tune: three convolutions, two of which are the same workload.

In: a folder. Out: a model file there, and its constants. Everything is the same in every run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from utvm.driver.load import import_model, load_model
from utvm.target.target import load_target
from utvm.tune.tasks import Task, find_tasks

TARGET = "cortex-m4"

_TEXT = """
graph small(%x: int8[1,6,6,4]) -> (%c) {
  const %w0: int8[4,3,3,4]
  const %w1: int8[4,3,3,4]
  const %w2: int8[6,1,1,4]
  const %b: int32[4] = [10, -20, 30, 0]
  const %b2: int32[6] = [1, 2, 3, 4, 5, 6]
  const %bits: int32[1] = [9]

  %sum0 = conv2d(%x, %w0, %b) {padding=[1, 1, 1, 1]}
  %shift0 = shift_right(%sum0, %bits)
  %a = cast(%shift0) {dtype="int8", saturate=true}
  %sum1 = conv2d(%a, %w1, %b) {padding=[1, 1, 1, 1]}
  %shift1 = shift_right(%sum1, %bits)
  %b1 = cast(%shift1) {dtype="int8", saturate=true}
  %sum2 = conv2d(%b1, %w2, %b2)
  %shift2 = shift_right(%sum2, %bits)
  %c = cast(%shift2) {dtype="int8", saturate=true}
}
"""


def write_network(folder: Path) -> tuple[Path, Path]:
    """The model and its constants."""
    generator = np.random.default_rng(3)
    shapes = {"w0": (4, 3, 3, 4), "w1": (4, 3, 3, 4), "w2": (6, 1, 1, 4)}
    model, params = folder / "small.graph", folder / "small.npz"
    model.write_text(_TEXT, encoding="ascii")
    weights = {n: generator.integers(-128, 128, s).astype(np.int8) for n, s in shapes.items()}
    np.savez(params, **weights)
    return model, params


def network_tasks(folder: Path) -> list[Task]:
    """The tasks of the network."""
    return find_tasks(import_model(load_model(*write_network(folder))), load_target(TARGET))
