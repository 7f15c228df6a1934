"""Bundles: the same bytes every time, and a program that builds with make and answers the same.

The bundle of the demo's network is built with arm-none-eabi-gcc and with zig through its Makefile
and run on the emulator; its text form is read back as a model.
"""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from utvm.artifact.bundle import Bundle, read_bundle, write_bundle
from utvm.device.elf import read_elf
from utvm.driver.build import Build, build_model
from utvm.driver.export import export_model
from utvm.driver.load import Model, load_model
from utvm.driver.memory import forecast
from utvm.driver.options import resolve_board, resolve_options
from utvm.driver.run import run_build
from utvm.driver.tensors import compare, read_expected, read_inputs

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "digits"
ROWS = 3


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(FOLDER / "digits.tflite")


@pytest.fixture(scope="module")
def bundle(model: Model) -> Bundle:
    return export_model(model, *resolve_board("cortex-m4", None), "aot")


def answers(build: Build) -> None:
    """The first images give the expected outputs."""
    images = FOLDER / "digits_test.npz"
    (inputs,) = read_inputs(images, build.inputs)
    (expected,) = read_expected(images, build.outputs, len(inputs))
    run = run_build(build, (inputs[:ROWS],))
    assert compare(run.outputs, (expected[:ROWS],)).matches


@pytest.mark.parametrize("executor", ["aot", "graph"])
@pytest.mark.parametrize("compiler", ["gcc", "zig"])
def test_bundle_builds_with_make(
    model: Model, tmp_path: Path, compiler: str, executor: str
) -> None:
    if not shutil.which("make") or (compiler == "gcc" and not shutil.which("arm-none-eabi-gcc")):
        pytest.skip("needs make and arm-none-eabi-gcc")
    bundle = export_model(model, *resolve_board("cortex-m4", None), executor)
    write_bundle(bundle, tmp_path / "bundle")
    make = ["make", f"COMPILER={compiler}", f"ZIG={sys.executable} -m ziglang"]
    done = subprocess.run(
        make, cwd=tmp_path / "bundle", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    build = build_model(model, resolve_options("cortex-m4", executor=executor), tmp_path)
    program = tmp_path / "bundle" / "standalone" / "model.elf"
    answers(dataclasses.replace(build, program=program, image=read_elf(program)))


@pytest.mark.parametrize("executor", ["aot", "graph"])
def test_native_bundle_builds_with_make(model: Model, tmp_path: Path, executor: str) -> None:
    if not shutil.which("make") or not shutil.which("gcc"):
        pytest.skip("needs make and gcc")
    write_bundle(export_model(model, *resolve_board("host", None), executor), tmp_path / "bundle")
    subprocess.run(["make", "-s"], cwd=tmp_path / "bundle", check=True)
    build = build_model(model, resolve_options("host"), tmp_path)
    answers(dataclasses.replace(build, program=tmp_path / "bundle" / "standalone" / "model.elf"))


def test_network_in_the_bundle_runs(bundle: Bundle, tmp_path: Path) -> None:
    write_bundle(bundle, tmp_path / "bundle")
    text = tmp_path / "bundle" / "src" / "digits.graph"
    loaded = load_model(text, tmp_path / "bundle" / "parameters" / "digits.npz")
    answers(build_model(loaded, resolve_options("host"), tmp_path))


def test_same_model_gives_same_bytes(bundle: Bundle, model: Model, tmp_path: Path) -> None:
    again = export_model(model, *resolve_board("cortex-m4", None), "aot")
    assert again == bundle
    for name, content in (("a.tar", bundle), ("b.tar", again)):
        write_bundle(content, tmp_path / name)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    assert str(Path.home()).encode() not in (tmp_path / "a.tar").read_bytes()


def test_metadata_tells_the_memory(bundle: Bundle, model: Model, tmp_path: Path) -> None:
    build = build_model(model, resolve_options("cortex-m4"), tmp_path)
    promised = forecast(build.compiled)
    modules = bundle.metadata["modules"]
    assert isinstance(modules, dict)
    functions = modules["digits"]["memory"]["functions"]
    (main,) = functions["main"]
    assert main["workspace_size_bytes"] == promised.arena
    assert main["constants_size_bytes"] == promised.parameters
    assert main["io_size_bytes"] == promised.io
    assert [tensor["size"] for tensor in main["inputs"].values()] == [64]
    assert [f["function_name"] for f in functions["operator_functions"]] == list(
        build.compiled.operator_symbols
    )


@pytest.mark.parametrize("executor", ["aot", "graph"])
def test_layout_is_that_of_the_specification(model: Model, executor: str) -> None:
    """Every path of the bundle stands in SPEC.md, and every row of SPEC.md in the bundle."""
    bundle = export_model(model, *resolve_board("cortex-m4", None), executor)
    spec = (FOLDER.parents[1] / "SPEC.md").read_text(encoding="utf-8")
    files = spec[spec.index("## Files") : spec.index("## metadata.json")]
    common, graph_only = files.split("### With `--executor graph`")
    text = common + graph_only if executor == "graph" else common
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    patterns = [row.strip().strip("`").replace("<name>", "digits") for row in rows]
    if executor == "graph":
        patterns.remove("codegen/host/src/tvmgen_digits_run.c")
    unmatched = set(bundle.files) | {"metadata.json"}
    for pattern in patterns:
        found = {name for name in unmatched if Path(name).match(pattern)}
        assert found, pattern
        unmatched -= found
    assert not unmatched


def test_names_come_from_the_option(tmp_path: Path) -> None:
    renamed = load_model(FOLDER / "digits.tflite", name="My net!")
    bundle = export_model(renamed, *resolve_board("cortex-m4", None), "aot")
    assert "codegen/host/include/tvmgen_my_net.h" in bundle.files
    write_bundle(bundle, tmp_path / "b")
    assert read_bundle(tmp_path / "b") == bundle
    assert np.load(tmp_path / "b" / "parameters" / "my_net.npz").files
