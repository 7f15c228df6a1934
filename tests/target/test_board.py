"""Boards: the ones that come with utvm, a board of one's own, and the errors of a broken file.

What is said here of every board is what a board file must say to be of use: addresses of memories,
where the facts come from, and how programs get there.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from utvm.support.errors import InputError
from utvm.target.board import PROBES, Debug, Memory, list_boards, load_board, read_board

OPENOCD_SCRIPTS = Path("/usr/share/openocd/scripts")  # where Debian's package has them
GOOD = """
title = "A board"
source = "its manual"
target = "cortex-m4"
port = "cortex_m"
run = "emulator"
[[memory]]
name = "flash"
kind = "flash"
origin = 0x0800_0000
size_bytes = 0x1_0000
[[memory]]
name = "sram"
kind = "ram"
origin = 0x2000_0000
size_bytes = 0x8000
"""


def write_board(folder: Path, text: str) -> Path:
    """A board's folder with ``text`` as its description."""
    folder.mkdir()
    (folder / "board.toml").write_text(text)
    return folder


EMULATED = ("m0plus", "m3", "m33", "m4", "m7")
QEMU = (
    "microbit",
    "mps2_an385",
    "mps2_an386",
    "mps2_an500",
    "mps2_an521",
    "mps3_an547",
    "qemu_riscv32",
)
REAL = (
    "arduino_nano_33_ble",
    "b_u585i_iot02a",
    "esp32c3",
    "nrf52840dk",
    "nrf5340dk",
    "nucleo_f746zg",
    "nucleo_h743zi",
    "nucleo_l4r5zi",
    "rpi_pico",
    "sparkfun_edge",
    "stm32f746g_disco",
)


def names(run: str) -> list[str]:
    return [name for name in list_boards() if load_board(name).run == run]


def test_the_boards_are_there() -> None:
    # Subsets: a new board needs no line here.
    assert set(names("emulator")) >= {f"emu_cortex_{core}" for core in EMULATED}
    assert set(names("qemu")) >= set(QEMU)
    assert set(names("probe")) >= set(REAL)
    assert names("host") == ["host"]


@pytest.mark.parametrize("name", list_boards())
def test_a_board_is_complete(name: str) -> None:
    board = load_board(name)
    assert board.name == name
    if board.run == "host":
        assert (board.memories, board.linker_script) == ((), None)
        return
    assert board.linker_script is not None
    assert board.clock_hz > 0
    assert board.memory("ram").size_bytes >= 4 * board.stack_bytes
    assert board.memory("flash").kind == "flash"


@pytest.mark.parametrize("name", [f"emu_cortex_{core}" for core in EMULATED])
def test_emulated_boards_have_one_memory_map(name: str) -> None:
    board = load_board(name)
    assert board.memory("flash") == Memory("flash", "flash", 0, 4 << 20)
    assert board.memory("ram") == Memory("ram", "ram", 0x2000_0000, 4 << 20)


@pytest.mark.parametrize("name", names("probe"))
def test_a_real_board_says_how_programs_get_there(name: str) -> None:
    board = load_board(name)
    assert board.probe in PROBES
    assert board.flash_command[-1].count("{elf}") == 1
    assert board.uart is not None and board.uart.baud == 115_200
    assert board.uart.tx != board.uart.rx
    assert any(digit in board.source for digit in "0123456789"), "which manual?"


def test_a_real_board_says_how_debuggers_reach_it() -> None:
    assert load_board("emu_cortex_m4").debug == Debug()
    silent = [name for name in names("probe") if load_board(name).debug == Debug()]
    assert silent == ["esp32c3"], "no program that is packaged reaches that one"
    nucleo = load_board("nucleo_f746zg").debug
    assert nucleo == Debug(openocd=("-f", "board/st_nucleo_f7.cfg"), pyocd="cortex_m")


@pytest.mark.parametrize("name", names("probe"))
def test_configurations_of_openocd_exist(name: str) -> None:
    if not OPENOCD_SCRIPTS.is_dir():
        pytest.skip(f"needs OpenOCD's scripts in {OPENOCD_SCRIPTS}")
    arguments = load_board(name).debug.openocd
    assert set(arguments[::2]) <= {"-f", "-c"}
    for option, value in zip(arguments[::2], arguments[1::2], strict=True):
        assert option == "-c" or (OPENOCD_SCRIPTS / value).is_file(), value


def test_tightly_coupled_memories_are_told_apart() -> None:
    board = load_board("nucleo_h743zi")
    assert [m.name for m in board.memories if m.tightly_coupled] == ["dtcm", "itcm"]
    assert board.memory("ram").name == "axi_sram", "the first one is the main one"


def test_a_board_is_one_folder_anywhere(tmp_path: Path) -> None:
    folder = write_board(tmp_path / "my_board", GOOD)
    board = load_board(str(folder))
    assert (board.name, board.target, board.stack_bytes) == ("my_board", "cortex-m4", 8192)
    assert board.memory("ram").end == 0x2000_8000


def test_a_board_may_have_its_own_linker_script(tmp_path: Path) -> None:
    folder = write_board(tmp_path / "b", GOOD.replace("port =", 'linker_script = "b.ld"\nport ='))
    with pytest.raises(InputError, match=r"the linker script does not exist; found b\.ld"):
        read_board(folder)
    (folder / "b.ld").write_text("")
    assert read_board(folder).linker_script == folder / "b.ld"


def test_an_unknown_board_points_at_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown board 'emu_m4'; .*did you mean 'emu_cortex_m4'"):
        load_board("emu_m4")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ('"cortex-m4"', '"cortex-m5"', "field 'target' is wrong; expected one of cortex-m0, "),
        ('"cortex_m"', '"avr"', "field 'port' is wrong; expected one of cortex_m, host"),
        ("0x8000", '"32K"', "[memory 1]: field 'size_bytes' is wrong; expected a whole number"),
        ("0x8000", "-8", "expected a whole number from 0 to 2^32-1; found -8"),
        ("0x8000", "0x8001", "expected a multiple of 8; found 32769"),
        ('"sram"', '"s ram"', "the name of a memory is no identifier; found s ram"),
        ('"sram"', '"flash"', "two memories have the same name"),
        ("0x2000_0000", "0x0800_8000", "memories 'flash' and 'sram' overlap"),
        ('kind = "ram"', 'kind = "flash"', "the board has no memory of kind 'ram'"),
        ("[[memory]]", "[memory]", "the file is not TOML"),
        ("run =", "colour = 'red'\nrun =", "unknown field 'colour'"),
        (
            '"emulator"',
            '"wire"',
            "field 'run' is wrong; expected one of emulator, host, qemu",
        ),
        ('"emulator"', '"qemu"', "field 'qemu_machine' is missing: the board runs on QEMU"),
        ('"emulator"', '"probe"', "field 'probe' is missing; expected one of st-link, j-link"),
        (
            '"emulator"',
            '"probe"\nprobe = "j-link"\nflash_command = ["pyocd"]',
            "the flash command names no program; expected '{elf}' in an argument",
        ),
        ("run =", 'probe = "ice"\nrun =', "field 'probe' is wrong; expected one of st-link"),
        ("run =", "uart = 3\nrun =", "field 'uart' is wrong; expected a table; found 3"),
        (
            "run =",
            'uart = {instance = "U", baud = 9600, tx = "a", rx = "b", driver = "usb"}\nrun =',
            "field 'driver' is wrong; expected one of cmsdk, nrf_uart, ns16550; found _usb_",
        ),
        (
            "run =",
            'uart = {instance = "U", baud = 9600, tx = "a", rx = "b", driver = "cmsdk"}\nrun =',
            "[uart]: a driver needs the fields 'base', 'clock_hz' and 'baud'",
        ),
        ("run =", "debug = {}\nrun =", "[debug]: the table is empty; expected 'openocd', 'pyocd'"),
        ("run =", "debug.pyocd = 1\nrun =", "[debug]: field 'pyocd' is wrong; expected a string"),
        ("0x8000", "8\ntightly_coupled = 1", "expected true or false; found 1"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, old: str, new: str, text: str) -> None:
    assert old in GOOD
    with pytest.raises(InputError) as error:
        read_board(write_board(tmp_path / "b", GOOD.replace(old, new)))
    assert text in str(error.value)


def test_a_table_where_a_list_belongs_is_refused(tmp_path: Path) -> None:
    text = GOOD[: GOOD.index("[[memory]]")] + "[memory]\nname = 'flash'\n"
    with pytest.raises(InputError, match=r"expected a list of tables, written \[\[memory\]\]"):
        read_board(write_board(tmp_path / "b", text))
