"""What inspect says, what a run says, what the plan promised and what the ELF file holds are equal.

The demo's network with both toolchains and on two cores, and every constant by its symbol; the same
is checked on all real networks in tests/models.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from utvm.codegen.c_module import constant_symbol
from utvm.driver.build import Build, build_model
from utvm.driver.inspect import inspect_model
from utvm.driver.load import load_model
from utvm.driver.memory import forecast
from utvm.driver.options import resolve_options

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits" / "digits.tflite"


@pytest.fixture(scope="module", params=["cortex-m7/zig", "cortex-m4/gcc", "cortex-m0plus/zig"])
def build(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Build:
    target, toolchain = request.param.split("/")
    folder = tmp_path_factory.mktemp("build")
    return build_model(load_model(DIGITS), resolve_options(target, toolchain=toolchain), folder)


def test_plan_is_what_the_program_holds(build: Build) -> None:
    assert build.memory is not None
    promised = forecast(build.compiled)
    assert promised.arena > 0 and promised.parameters > 0
    assert build.memory.ram.arena == promised.arena
    assert build.memory.ram.io == promised.io == 64 + 10


def test_every_constant_has_its_size(build: Build) -> None:
    assert build.image is not None
    module = build.compiled.module
    for name, data in module.constants.items():
        assert build.image.symbols[constant_symbol(module, name)].size == data.nbytes


def test_sections_add_up(build: Build) -> None:
    """Read with pyelftools alone: what `size` would say."""
    assert build.memory is not None
    with build.program.open("rb") as stream:
        elf = ELFFile(stream)
        sizes = {s.name: s["sh_size"] for s in elf.iter_sections() if s["sh_flags"] & 2}
    flash, ram = build.memory.flash, build.memory.ram
    assert flash.code == sizes[".vectors"] + sizes[".text"]
    assert flash.constants == sizes[".rodata"] + sizes[".data"]
    assert ram.total == sizes[".data"] + sizes[".bss"]
    assert 0 <= ram.static < 256


def test_inspect_says_the_same(build: Build) -> None:
    inspection = inspect_model(build.model, build.options)
    assert inspection.memory == build.memory
    assert inspection.fits
