"""``utvm schedule``: the loops of a kernel before and after, step by step, down to assembly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.cli.conftest import Utvm
from utvm.driver.load import import_model, load_model
from utvm.driver.options import resolve_options
from utvm.driver.run import run_build
from utvm.driver.schedules import build_by_hand, unscheduled
from utvm.driver.tensors import read_inputs
from utvm.ir.parse_loop import parse_function


def headings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(("---", "==="))]


def test_steps_and_the_nest_behind_each(utvm: Utvm, digits: Path) -> None:
    arguments = ("schedule", digits, "--target", "host", "--operator", "conv2d_2")
    done = utvm(*arguments)
    assert done.code == 0, done.err
    titles = ["=== conv2d_2: conv2d", "--- unscheduled", "--- steps", "--- scheduled"]
    assert headings(done.out) == titles
    steps = done.out.partition("--- steps\n")[2].partition("\n\n")[0].splitlines()
    assert 'split("c", 2)' in steps
    shown = headings(utvm(*arguments, "--steps").out)
    assert shown == [*titles[:3], *(f"--- after {step}" for step in steps), titles[3]]


def test_json_holds_nests_that_parse(utvm: Utvm, digits: Path) -> None:
    done = utvm("schedule", digits, "--target", "host", "--operator", "dense", "--json")
    report = json.loads(done.out)
    assert report["target"] == "host"
    (kernel,) = report["kernels"]
    assert kernel["name"] == "dense_6"
    nests = [kernel["unscheduled"], *(step["nest"] for step in kernel["steps"])]
    assert all(parse_function(nest).name == "dense_6" for nest in nests)
    assert parse_function(kernel["scheduled"]) == parse_function(nests[-1])


def test_register_blocks_are_shown_with_their_assembly(utvm: Utvm, digits: Path) -> None:
    done = utvm("schedule", digits, "--target", "cortex-m4", "--operator", "conv2d_4")
    titles = headings(done.out)
    assert titles[:3] == [
        "=== conv2d_4: conv2d",
        "--- unscheduled",
        "--- scheduled in register blocks",
    ]
    micros = [t.removeprefix("--- micro function ") for t in titles if "micro function" in t]
    assert micros
    assert [t for t in titles if "assembly of" in t] == [f"--- assembly of {m}" for m in micros]
    assert "smlad r" in done.out
    portable = utvm("schedule", digits, "--target", "cortex-m4", "--portable-c").out
    assert "assembly of" not in portable


def test_an_unknown_kernel_is_refused(utvm: Utvm, digits: Path) -> None:
    done = utvm("schedule", digits, "--operator", "conv9")
    assert done.code == 1
    assert done.err.startswith("utvm: error: no such kernel; expected one of conv2d_0, ")
    assert done.err.endswith("; found conv9\n")


def test_a_schedule_written_by_hand_gives_the_same_answers(digits: Path, tmp_path: Path) -> None:
    model = load_model(digits)
    graph = import_model(model)
    kernel = unscheduled(graph)["avg_pool2d_5"]
    by_hand = kernel.unroll("kx").unroll("ky").outline("y", "expand_24")
    options = resolve_options("cortex-m4")
    build = build_by_hand(model, graph, options, {"avg_pool2d_5": by_hand}, tmp_path)
    archive = digits.parent / "digits_test.npz"
    rows = tuple(array[:5] for array in read_inputs(archive, build.inputs))
    run = run_build(build, rows)
    with np.load(archive) as data:
        np.testing.assert_array_equal(run.outputs[0], data["out0"][:5])
