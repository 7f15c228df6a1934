"""Reading ELF files, whole and broken."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.device.assembly import assemble, function
from utvm.device.elf import ElfImage, read_elf
from utvm.support.errors import DeviceError


@pytest.fixture
def image(tmp_path: Path) -> ElfImage:
    return assemble(tmp_path, " nop\n bx lr", functions=function("other", " nop\n nop\n bx lr"))


def test_functions_and_objects_are_found(image: ElfImage) -> None:
    measured, other = image.symbols["measured"], image.symbols["other"]
    assert (measured.kind, measured.size) == ("func", 4)
    assert (other.kind, other.size) == ("func", 6)
    assert measured.address % 2 == 0
    assert image.symbols["buffer"].kind == "object"
    assert image.symbols["buffer"].address == 0x20000000
    assert not [name for name in image.symbols if name.startswith("$")]


def test_an_address_is_named_by_its_function(image: ElfImage) -> None:
    other = image.symbols["other"].address
    assert image.function_at(other) == "other"
    assert image.function_at(other + 2) == "other+0x2"
    assert image.function_at(0x60000000) == "0x60000000"


def test_a_function_has_a_range(image: ElfImage) -> None:
    other = image.symbols["other"].address
    assert image.function_range("other") == (other, other + 6)
    with pytest.raises(DeviceError, match="the program has no function buffer"):
        image.function_range("buffer")


def test_segments_and_sections_are_listed(image: ElfImage) -> None:
    text = next(section for section in image.sections if section.name == ".text")
    bss = next(section for section in image.sections if section.name == ".bss")
    assert (text.address, text.alloc, text.exec, text.nobits) == (0, True, True, False)
    assert (bss.address, bss.write, bss.nobits) == (0x20000000, True, True)
    code = next(segment for segment in image.segments if segment.executable)
    assert (code.paddr, code.memsz, code.writable) == (0, text.size, False)
    assert len(code.data) == text.size


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"gone\.elf: cannot read the program: No such file"):
        read_elf(tmp_path / "gone.elf")


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("not a program")
    with pytest.raises(DeviceError, match="the program is not a valid ELF file"):
        read_elf(path)


def test_an_unlinked_file_is_refused(image: ElfImage) -> None:
    with pytest.raises(DeviceError, match="the program is not linked"):
        read_elf(image.path.with_suffix(".o"))


@pytest.mark.parametrize("seed", range(8))
def test_damage_gives_an_error_or_a_program(image: ElfImage, seed: int) -> None:
    """Truncated and mutated files: a DeviceError or an image, never another exception."""
    rng = random.Random(seed)
    whole = image.path.read_bytes()
    path = image.path.with_name("damaged.elf")
    for _ in range(60):
        data = bytearray(whole[: rng.choice((len(whole), rng.randrange(len(whole))))])
        for _ in range(rng.randrange(1, 12)):
            if data:
                data[rng.randrange(min(len(data), rng.choice((52, 200, len(data)))))] = rng.choice(
                    (0, 0xFF, 0x80, rng.randrange(256))
                )
        path.write_bytes(data)
        try:
            assert read_elf(path).path == path
        except DeviceError as error:
            assert str(path) in str(error)
