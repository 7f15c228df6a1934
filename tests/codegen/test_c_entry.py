"""The functions that a session calls: their C, with each executor.

Golden files show the entry of one small network. That it runs is shown in tests/driver and
tests/models; here: no warnings, clang-format leaves it alone, and the registry names what is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.codegen.networks import NETWORKS
from tests.codegen.test_c_function import formatted
from tests.codegen.test_c_module import check_warnings
from utvm.codegen.c_entry import SessionFunctions, entry_symbol
from utvm.codegen.c_rpc_main import rpc_program
from utvm.driver.pipeline import Compiled, compile_graph
from utvm.ir.graph import Graph
from utvm.support.errors import UnsupportedError
from utvm.target.target import load_target

EXECUTORS = (
    ("aot", "linked"),
    ("graph", "linked"),
    ("graph", "loaded"),
    ("host", "linked"),
    ("host", "loaded"),
)


def compiled(graph: Graph, executor: str, params: str = "linked") -> Compiled:
    return compile_graph(graph, load_target("cortex-m4"), executor=executor, params=params)


@pytest.mark.parametrize(("executor", "params"), EXECUTORS[:3])
def test_golden(executor: str, params: str, golden: Callable[[str, str], None]) -> None:
    functions = compiled(NETWORKS["residual"](), executor, params).functions
    for file in ("tvmgen_residual_entry.h", "tvmgen_residual_entry.c"):
        golden(f"session/residual_{executor}_{params}/{file}", functions.sources[file])


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize(("executor", "params"), EXECUTORS)
@pytest.mark.parametrize("name", NETWORKS)
def test_no_warnings_and_the_layout_is_kept(
    tmp_path: Path, name: str, toolchain: str, executor: str, params: str
) -> None:
    program = compiled(NETWORKS[name](), executor, params)
    for file, text in rpc_program(program.called, program.functions, 64).items():
        (tmp_path / file).write_text(text, encoding="ascii")
        assert formatted(text) == text
    check_warnings(tmp_path, "cortex-m4", toolchain)


@pytest.mark.parametrize(("executor", "params"), EXECUTORS)
def test_layout_is_kept_whatever_the_network_is_called(executor: str, params: str) -> None:
    for name in ("quiet", "x" * 200):
        program = compiled(replace(NETWORKS["classifier"](), name=name), executor, params)
        for text in rpc_program(program.called, program.functions, 64).values():
            assert formatted(text) == text


def test_the_registry_names_the_functions() -> None:
    program = compiled(NETWORKS["residual"](), "host")
    assert len(program.functions.names) == len(program.module.functions)
    sources = "".join(program.functions.sources.values())
    assert all(f'"{name}\\0"' in sources for name in program.functions.names)
    entry = compiled(NETWORKS["residual"](), "aot")
    assert entry.functions.names == ("tvmgen_residual___tvm_main__",)
    assert entry_symbol("residual") == entry.functions.names[0]
    assert not [name for name in entry.functions.sources if name.endswith("_main.c")]


def test_too_many_arguments_for_a_call_are_refused() -> None:
    program = compiled(NETWORKS["residual"](), "aot")
    functions = program.functions
    many = SessionFunctions(
        functions.sources, functions.header, functions.registry, functions.names, 17
    )
    with pytest.raises(UnsupportedError, match=r"residual: .*expected at most 16; found 17"):
        rpc_program(program.module, many, 64)
