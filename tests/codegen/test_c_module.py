"""Whole networks as C files: hostile names stay out, no compiler warns, layout is kept.

Names and sources come from the model, so every text is tried. The MLPerf Tiny networks are compiled
by both compilers for every kind of core with more warnings than the build asks for.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codegen.networks import NETWORKS
from tests.codegen.programs import build, network_of
from tests.codegen.test_c_function import formatted
from tests.kept import Kept
from utvm.codegen.c_module import generate_c
from utvm.device.crt import crt_include_dir
from utvm.device.toolchain import find_toolchain
from utvm.driver.load import load_model
from utvm.driver.options import resolve_options
from utvm.driver.pipeline import Compiled, compile_graph
from utvm.ir.dtype import DType
from utvm.ir.graph import Graph, TensorType
from utvm.ir.loop import Buffer, Function, Imm, Store
from utvm.op.builder import GraphBuilder
from utvm.op.clip import ClipAttrs
from utvm.op.registry import find_op
from utvm.passes.plan_memory import plan_memory
from utvm.support.errors import ToolchainError, UnsupportedError
from utvm.target.target import load_target

MLPERF = ("mlperf_ad01_int8", "mlperf_kws_int8", "mlperf_resnet8_int8", "mlperf_vww96_int8")
TARGETS = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "host")
HOSTILE = (
    'quo"te', "new\nline", "*/ int evil;", "/*", "../../etc/passwd", "back\\slash", "??/", "%s%n",
    "int", "class", "INT32_MAX", "acc", "p0", "a0", "v0", "i0", "in0", "out0", "workspace", "at",
    "x" * 10_000, "", "1st", "ünïcödé", "same", "same", "same_1", "main", "\x1b[31m", "\u202e",
    "#if 0",
)  # fmt: skip


def network(texts: Sequence[str]) -> Graph:
    """Clips, of which the texts name the network, inputs, constants, values and sources."""
    b = GraphBuilder(texts[0], find_op)
    for number, text in enumerate(texts):
        b.source = text
        shape = (2, number % 3 + 1)
        x = b.input(text, TensorType(shape, DType.INT8))
        bound = b.constant(np.ones(shape, np.int8), text)
        summed = b.emit("add", [x, bound], name=text)
        b.output(b.emit("clip", [summed], ClipAttrs(low=0, high=6), text))
    return b.build()


def assert_harmless(sources: dict[str, str]) -> None:
    for file, text in sources.items():
        assert re.fullmatch(r"[A-Za-z_]\w*\.[ch]", file, re.ASCII)
        assert text.isascii()
        assert all(line.isprintable() for line in text.split("\n"))
        code = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
        code = re.sub(r"__asm__\(\s*((\"[ -~]*?\\\\n\"\s*)*)\);", ";", code)
        assert "/*" not in code and "*/" not in code and "//" not in code and "??" not in text
        assert re.fullmatch(r"[A-Za-z0-9_\s#<>\"./*+\-=&|!?:;,(){}\[\]%^~]*", code)
        includes = re.findall(r'".*?"', code)
        assert all(re.fullmatch(r'"(utvm/)?\w+\.h"|"C"', name) for name in includes)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=4))
def test_no_text_of_the_model_reaches_c(texts: list[str]) -> None:
    sources = compile_graph(network(texts), load_target("cortex-m4")).sources
    assert_harmless(dict(sources))


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_hostile_names_compile(tmp_path: Path, toolchain: str) -> None:
    sources = compile_graph(network(HOSTILE), load_target("cortex-m4")).sources
    assert_harmless(dict(sources))
    for file, text in sources.items():
        (tmp_path / file).write_text(text, encoding="ascii")
    build(tmp_path, "cortex-m4", toolchain)


@pytest.mark.parametrize("name", ["quiet", "x" * 200, "coral_mobilenet_v1_uint8"])
def test_layout_is_kept_whatever_the_network_is_called(name: str) -> None:
    for make in NETWORKS.values():
        sources = compile_graph(replace(make(), name=name), load_target("cortex-m4")).sources
        for text in sources.values():
            assert formatted(text) == text


def test_a_network_without_inputs_is_refused() -> None:
    out = Buffer("out0", DType.INT8, (1,), "output")
    module, graph = network_of([Function("f_0", (), (out,), (Store(out, (Imm(0),), Imm(1)),))])
    with pytest.raises(UnsupportedError, match="net: the network has no inputs"):
        generate_c(module, plan_memory(module), graph)


def compiled(kept: Kept, shared_models: Path, name: str, target: str) -> Compiled:
    model = load_model(shared_models / name / "model.tflite")
    return kept.compiled(model, resolve_options(target))


def check_warnings(folder: Path, target_name: str, toolchain_name: str) -> None:
    """Compiles every C file of ``folder`` with all warnings that a careful project turns on."""
    target = load_target(target_name)
    try:
        toolchain = find_toolchain(toolchain_name, target)
    except ToolchainError as error:
        pytest.skip(str(error))
    for source in sorted(folder.glob("*.c")):
        command = toolchain.compile_command(
            target, source, f"{source.stem}.o", [folder, crt_include_dir()], "-O1"
        )
        more = ["-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wcast-qual", "-Wundef"]
        done = subprocess.run(
            [*command, *more],
            cwd=folder,
            env=dict(toolchain.environment(folder)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", MLPERF)
def test_mlperf_networks_compile_without_a_warning(
    shared_models: Path, kept: Kept, tmp_path: Path, name: str, target: str, toolchain: str
) -> None:
    for file, text in compiled(kept, shared_models, name, target).sources.items():
        (tmp_path / file).write_text(text, encoding="ascii")
    check_warnings(tmp_path, target, toolchain)


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize("name", NETWORKS)
def test_small_networks_compile_without_a_warning(
    tmp_path: Path, name: str, toolchain: str
) -> None:
    for file, text in compile_graph(NETWORKS[name](), load_target("cortex-m4")).sources.items():
        (tmp_path / file).write_text(text, encoding="ascii")
    check_warnings(tmp_path, "cortex-m4", toolchain)


def test_real_networks_keep_the_layout(shared_models: Path, kept: Kept) -> None:
    """clang-format has nothing to change in what a real network becomes."""
    for name in ("mlperf_ad01_int8", "mlperf_kws_int8", "seanet16_add1", "mlperf_kws_float"):
        for text in compiled(kept, shared_models, name, "cortex-m4").sources.values():
            if "clang-format off" not in text:
                assert formatted(text) == text
