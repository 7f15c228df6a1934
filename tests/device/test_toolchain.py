"""Toolchains: every target builds with zig and with GCC, reproducibly, and failures are clear."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from tests.crt.programs import build, run
from utvm.device import link
from utvm.device import toolchain as toolchains
from utvm.device.crt import crt_include_dir, crt_sources
from utvm.device.elf import read_elf
from utvm.device.link import build_elf, memory_script
from utvm.device.process import run_tool
from utvm.device.toolchain import check_toolchains, find_toolchain
from utvm.support.cache import cache_dir, cached_file, publish
from utvm.support.errors import MemoryLimitError, ToolchainError, UtvmError
from utvm.target.board import Board, list_boards, load_board
from utvm.target.target import load_target

HELLO = Path(__file__).parent / "hello.c"
STREAM = bytes(range(1, 33))


def hello_output() -> bytes:
    """What hello.c writes for STREAM."""
    total, product, wide = 0, np.float32(1.5), 2.5
    for at in range(0, len(STREAM), 4):
        total = (total * 1000003 + STREAM[at] + 2**63) % 2**64 - 2**63
        product = np.float32(product * np.float32(STREAM[at + 1])) + np.float32(0.1)
        wide = wide / STREAM[at + 2] - 1.0
    quotient = abs(total) // 3 * (1 if total >= 0 else -1)
    rest = abs(total) % 1000 * (1 if total >= 0 else -1)
    return struct.pack("<qfd", quotient + rest, product, wide)


def compile_text(text: str, board_name: str, toolchain_name: str, folder: Path) -> Path:
    """The program of one source text."""
    (folder / "model.c").write_text(text)
    return build(folder / "model.c", board_name, toolchain_name, folder)


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize("board", list_boards())
def test_every_board_builds_and_runs(board: str, toolchain: str, tmp_path: Path) -> None:
    program = build(HELLO, board, toolchain, tmp_path)
    if load_board(board).run == "probe":
        check_layout(program, load_board(board))
    else:
        assert run(program, board, STREAM, tmp_path) == hello_output()


def check_layout(program: Path, board: Board) -> None:
    """What cannot run here lies where the board has memory, vectors or start-up first."""
    sections = [s for s in read_elf(program).sections if s.alloc and s.size]
    for section in sections:
        last = section.address + section.size - 1
        assert any(m.origin <= section.address and last < m.end for m in board.memories), section
    flash = [s for s in sections if not s.write]
    assert min(s.address for s in flash) == board.memory("flash").origin
    assert min(s.address for s in sections if s.write) == board.memory("ram").origin


EMULATED_TOO = [
    name
    for name in list_boards()
    if load_board(name).qemu_machine and load_board(name).run == "emulator"
]


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize("board", EMULATED_TOO)
def test_the_same_program_runs_on_qemu(board: str, toolchain: str, tmp_path: Path) -> None:
    program = build(HELLO, board, toolchain, tmp_path)
    assert run(program, board, STREAM, tmp_path, qemu=True) == hello_output()


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
def test_the_layout_is_the_boards(toolchain: str, tmp_path: Path) -> None:
    text = "int big[100] = {1}; int zero[10]; int main(void) { return big[zero[1]]; }\n"
    program = compile_text(text, "emu_cortex_m4", toolchain, tmp_path)
    with program.open("rb") as file:
        elf = ELFFile(file)
        sections = {section.name: section for section in elf.iter_sections()}
        symbols = {symbol.name: symbol["st_value"] for symbol in sections[".symtab"].iter_symbols()}
        loads = {segment["p_vaddr"]: segment for segment in elf.iter_segments("PT_LOAD")}
    assert sections[".vectors"]["sh_addr"] == 0
    assert sections[".stack"]["sh_addr"] == symbols["__utvm_stack_low"] == 0x2000_0000
    assert symbols["__utvm_stack_top"] == 0x2000_2000 == sections[".data"]["sh_addr"]
    assert sections[".data"]["sh_size"] == 400
    flash_end = loads[0]["p_filesz"]
    assert loads[0x2000_2000]["p_paddr"] >= flash_end, "the first values of .data lie in flash"
    assert sections[".stack"]["sh_type"] == sections[".bss"]["sh_type"] == "SHT_NOBITS"
    assert program.with_suffix(".map").read_text().count("model.o") > 0


@pytest.mark.parametrize(
    ("board", "toolchain"),
    [("emu_cortex_m4", "zig"), ("emu_cortex_m4", "gcc"), ("host", "zig"), ("host", "gcc")],
)
def test_the_same_input_gives_the_same_bytes(board: str, toolchain: str, tmp_path: Path) -> None:
    programs = []
    for name in ("first", "second_place"):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(HELLO, folder / "hello.c")
        programs.append(build(folder / "hello.c", board, toolchain, folder).read_bytes())
    assert programs[0] == programs[1]
    assert str(tmp_path).encode() not in programs[0]


@pytest.mark.parametrize("toolchain", ["zig", "gcc"])
@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("int main(void) { return 0 }\n", ToolchainError, "model.c:1:26: expected ';'"),
        ("int main(void) { int x; return 0; }\n", ToolchainError, "unused variable 'x'"),
        ("int f(int); int main(void) { return f(1); }\n", ToolchainError, "undefined"),
        ("char big[5000000]; int main(void) { return 0; }\n", None, ""),  # unused: dropped
        (
            "char big[5000000]; int main(void) { return big[9]++; }\n",
            MemoryLimitError,
            "in region 'ram'",
        ),
        (
            "const char big[5000000] = {1}; const volatile char *p = big;"
            " int main(void) { return p[1]; }\n",
            MemoryLimitError,
            "in region 'flash'",
        ),
    ],
)
def test_failures_say_what_is_wrong(
    text: str, kind: type[UtvmError] | None, message: str, toolchain: str, tmp_path: Path
) -> None:
    if kind is None:
        assert compile_text(text, "emu_cortex_m4", toolchain, tmp_path).exists()
        return
    with pytest.raises(kind) as error:
        compile_text(text, "emu_cortex_m4", toolchain, tmp_path)
    assert message in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model.c"], "nothing half-written"


def test_a_failed_build_leaves_the_old_program(tmp_path: Path) -> None:
    program = compile_text("int main(void) { return 0; }\n", "emu_cortex_m4", "zig", tmp_path)
    before = program.read_bytes()
    with pytest.raises(ToolchainError):
        compile_text("int main(void) { return x; }\n", "emu_cortex_m4", "zig", tmp_path)
    assert program.read_bytes() == before


def test_the_runtime_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []

    def run_and_note(command: Sequence[str], **options: object) -> str:
        commands.append(" ".join(command))
        return run_tool(command, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(link, "run_tool", run_and_note)
    monkeypatch.setenv("UTVM_CACHE_DIR", str(tmp_path / "cache"))
    board = load_board("emu_cortex_m4")
    target = load_target(board.target)

    def compiled(optimize: str) -> tuple[list[str], bytes]:
        """The runtime's sources that this build compiled, and its program."""
        commands.clear()
        sources = [HELLO, *crt_sources(target, board)]
        found, out = find_toolchain("gcc", target), tmp_path / "hello.elf"
        build_elf(found, target, board, sources, [crt_include_dir()], out, optimize=optimize)
        names = [s.name for s in sources[1:] if any(str(s) in line for line in commands)]
        return names, out.read_bytes()

    every = [source.name for source in crt_sources(target, board)]
    first = compiled("-O2")
    assert first[0] == every
    assert compiled("-O2") == ([], first[1])
    assert compiled("-Os")[0] == every


def test_float_contraction_is_off(tmp_path: Path) -> None:
    text = "float a, b, c; int main(void) { c = a * b + c; return 0; }\n"
    for name in ("zig", "gcc"):
        program = compile_text(text, "emu_cortex_m4", name, tmp_path)
        with program.open("rb") as file:
            code = ELFFile(file).get_section_by_name(".text").data()
        fused = [
            at for at in range(0, len(code) - 3, 2) if code[at + 1] == 0xEE and is_fma(code, at)
        ]
        assert not fused, name


def is_fma(code: bytes, at: int) -> bool:
    """Whether the instruction at ``at`` is VFMA.F32 or VMLA.F32 (Armv7-M manual, A7.7.226, 233)."""
    first, second = struct.unpack_from("<HH", code, at)
    fma = (first & 0xFFB0, second & 0x0F50) == (0xEEA0, 0x0A00)
    return fma or (first & 0xFFB0, second & 0x0F50) == (0xEE00, 0x0A00)


def test_the_wrong_board_is_refused(tmp_path: Path) -> None:
    target = load_target("cortex-m4")
    with pytest.raises(ToolchainError, match=r"another processor; expected target cortex-m7"):
        build_elf(
            find_toolchain(None, target),
            target,
            load_board("emu_cortex_m7"),
            [HELLO],
            [],
            tmp_path / "x",
        )


def test_missing_toolchains_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    target = load_target("cortex-m4")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ToolchainError) as error:
        find_toolchain("gcc", target)
    assert str(error.value) == (
        "no program 'arm-none-eabi-gcc' is installed;"
        " hint: apt install gcc-arm-none-eabi, or use the default toolchain zig"
    )
    with pytest.raises(ToolchainError, match=r"apt install gcc-riscv64-unknown-elf, or"):
        find_toolchain("gcc", load_target("riscv32imc"))
    with pytest.raises(ToolchainError, match=r"no program 'my-gcc' is installed; hint: use zig"):
        find_toolchain("my-gcc", target)
    monkeypatch.setattr(toolchains, "find_spec", lambda name: None)
    with pytest.raises(ToolchainError, match=r"zig is not installed; hint: pip install ziglang"):
        find_toolchain("zig", target)
    assert [check.ok for check in check_toolchains()] == [False, False, False]


def test_a_gcc_like_compiler_is_taken_by_path(tmp_path: Path) -> None:
    gcc = shutil.which("arm-none-eabi-gcc")
    if gcc is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    target = load_target("cortex-m4")
    toolchain = find_toolchain(gcc, target)
    assert toolchain.name == gcc
    assert "gcc" in toolchain.version()
    board = load_board("emu_cortex_m4")
    out = tmp_path / "hello.elf"
    build_elf(
        toolchain, target, board, [HELLO, *crt_sources(target, board)], [crt_include_dir()], out
    )
    assert out.exists()


def test_doctor_sees_zig() -> None:
    checks = {check.name: check for check in check_toolchains()}
    assert checks["zig"].ok
    assert "clang version" in checks["zig"].version


def test_memory_script_names_every_memory() -> None:
    assert memory_script(load_board("emu_cortex_m4")) == (
        "MEMORY\n{\n"
        "  flash (rx) : ORIGIN = 0x00000000, LENGTH = 0x400000\n"
        "  ram (rwx) : ORIGIN = 0x20000000, LENGTH = 0x400000\n"
        "}\n"
        'REGION_ALIAS("FLASH", flash)\n'
        'REGION_ALIAS("RAM", ram)\n'
        "__utvm_stack_bytes = 0x2000;\n"
        "__utvm_clock_hz = 0x17d7840;\n"
        "__utvm_machine_timer = 0x0;\n"
        "__utvm_uart_base = 0x40004000;\n"
        "__utvm_uart_clock_hz = 0x17d7840;\n"
        "__utvm_uart_baud = 0x1c200;\n"
        "__utvm_uart_tx_select = 0x0;\n"
        "__utvm_uart_rx_select = 0x0;\n"
        "__utvm_uart_interrupt = 0xffff;\n"
    )


def test_the_cache_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UTVM_CACHE_DIR", str(tmp_path / "a"))
    assert cache_dir() == tmp_path / "a"
    monkeypatch.delenv("UTVM_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert cache_dir() == tmp_path / "b" / "utvm"


def test_the_cache_builds_once_and_never_shows_half(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("UTVM_CACHE_DIR", str(tmp_path))
    built = []

    def make(path: Path) -> None:
        built.append(path)
        path.write_text("made")

    paths = [cached_file("thing", ("key", "1"), make) for _ in range(3)]
    assert len(built) == 1
    assert paths[0].read_text() == "made"
    assert cached_file("thing", ("key", "2"), make) != paths[0]

    def fail(path: Path) -> None:
        path.write_text("half")
        raise ToolchainError("no")

    with pytest.raises(ToolchainError):
        cached_file("thing", ("key", "3"), fail)
    cached_file("thing", ("key", "3"), make)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["thing"] * 3


def test_publish_replaces_whole_files_under_readers(tmp_path: Path) -> None:
    target = tmp_path / "file"
    sources = []
    for letter in "ab":
        (tmp_path / letter).write_text(letter * 100_000)
        sources.append(tmp_path / letter)
    publish(sources[0], target)

    def read(_: int) -> set[str]:
        return set(target.read_text())

    with ThreadPoolExecutor(2) as pool:
        seen = pool.map(read, range(200))
        for turn in range(50):
            publish(sources[turn % 2], target)
        assert all(len(letters) == 1 for letters in seen)


@pytest.mark.slow
def test_two_processes_may_build_for_the_first_time_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.crt.programs import build;"
        "build(Path(sys.argv[1]), 'emu_cortex_m3', 'zig', Path(sys.argv[2]))"
    )
    root = Path(__file__).parents[2]
    started = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        env = {"PYTHONPATH": f"{root / 'src'}:{root}", "UTVM_CACHE_DIR": str(tmp_path / "cache")}
        command = [sys.executable, "-c", code, str(HELLO), str(tmp_path / name)]
        started.append(subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True))
    assert [(process.communicate()[1], process.returncode) for process in started] == [("", 0)] * 2
    programs = [path.read_bytes() for path in tmp_path.glob("?/*.elf")]
    assert len(programs) == 2
    assert programs[0] == programs[1]
