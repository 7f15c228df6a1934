"""The C runtime natively, under address and undefined-behaviour sanitizers.

The unit tests are C (``runtime_driver.c``). Graphs and parameters, right and broken, go through
``graph_driver.c``, which a fuzz test feeds with a fixed number of random mutations. Warnings, the
size on a Cortex-M4 and the list of status codes are checked here, too.
"""

from __future__ import annotations

import random
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crt import graph_cases as cases
from tests.crt.programs import HERE
from utvm.device.crt import CRT, GRAPH_EXECUTOR, crt_include_dir

SOURCES = [CRT / "src" / f"{name}.c" for name in GRAPH_EXECUTOR]
WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wpedantic", "-Werror"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1"]
FLASH_BYTES = {"-Os": 6 * 1024, "-O2": 6 * 1024 + 128, "-O3": 6 * 1024 + 128}
ROOM = 4096
MUTATIONS = 20_000


def build(driver: str, folder: Path) -> Path:
    """A native program under the sanitizers; skips where there are none."""
    if not shutil.which("gcc"):
        pytest.skip("needs gcc with its sanitizers")
    probe = folder / "probe.c"
    probe.write_text("int main(void) { return 0; }\n", encoding="ascii")
    if subprocess.run(["gcc", *SANITIZERS, str(probe), "-o", str(folder / "probe")]).returncode:
        pytest.skip("needs gcc with its sanitizers")
    out = folder / driver
    sources = [HERE / f"{driver}.c", *SOURCES]
    include = [f"-I{crt_include_dir()}", f"-I{CRT / 'src'}"]
    command = ["gcc", *WARNINGS, *SANITIZERS, *include, *map(str, sources), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("graph_driver", tmp_path_factory.mktemp("graph_driver"))


def run_cases(driver: Path, inputs: list[tuple[bytes, bytes, int]]) -> list[tuple[int, int, int]]:
    """Status, peak of the memory and sum of the outputs for every graph, parameters and memory."""
    stream = b"".join(
        struct.pack("<III", len(text), len(params), room) + text + params
        for text, params, room in inputs
    )
    done = subprocess.run([str(driver)], input=stream, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")[:2000]
    assert len(done.stdout) == 12 * len(inputs)
    return list(struct.iter_unpack("<iii", done.stdout))


def status_of(driver: Path, text: bytes, params: bytes = b"", room: int = ROOM) -> int:
    return run_cases(driver, [(text, params, room)])[0][0]


def test_units(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(build("runtime_driver", tmp_path))], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("graph", [cases.valid_graph(), cases.planned_graph()])
def test_right_graph_runs(driver: Path, graph: cases.Graph) -> None:
    ((status, _, total),) = run_cases(driver, [(cases.json_of(graph), b"", ROOM)])
    first = (6 * 1 + 16 * 1) % 256  # bytes of both inputs, into 8 bytes
    second = 8 * first % 256  # into 2 bytes
    assert (status, total) == (0, 2 * second + 2 * second % 256)


def test_memory_is_used_to_the_last_byte(driver: Path) -> None:
    text = cases.json_of(cases.planned_graph())
    ((_, peak, _),) = run_cases(driver, [(text, b"", ROOM)])
    assert status_of(driver, text, room=peak) == 0
    assert status_of(driver, text, room=peak - 8) == cases.ERROR_MEMORY


def test_unplanned_workspace_needs_room(driver: Path) -> None:
    text = cases.json_of(cases.valid_graph())
    ((_, peak, _),) = run_cases(driver, [(text, b"", ROOM)])
    assert status_of(driver, text, room=peak) == 0
    assert status_of(driver, text, room=peak - 8) == -3


def test_operator_that_fails_ends_the_run(driver: Path) -> None:
    graph = cases.valid_graph()
    graph["nodes"][4]["attrs"]["func_name"] = "fail"
    assert status_of(driver, cases.json_of(graph)) == -100


def test_broken_texts_are_refused(driver: Path) -> None:
    results = run_cases(driver, [(text, b"", ROOM) for text, _ in cases.BROKEN_TEXTS.values()])
    found = dict(zip(cases.BROKEN_TEXTS, (status for status, _, _ in results), strict=True))
    assert found == {name: expected for name, (_, expected) in cases.BROKEN_TEXTS.items()}


def test_broken_graphs_are_refused(driver: Path) -> None:
    texts = []
    for change, _ in cases.BROKEN_GRAPHS.values():
        graph = cases.planned_graph()
        change(graph)
        texts.append(cases.json_of(graph))
    results = run_cases(driver, [(text, b"", ROOM) for text in texts])
    found = dict(zip(cases.BROKEN_GRAPHS, (status for status, _, _ in results), strict=True))
    assert found == {name: expected for name, (_, expected) in cases.BROKEN_GRAPHS.items()}


def test_every_beginning_of_a_text_is_refused(driver: Path) -> None:
    text = cases.json_of(cases.planned_graph())
    results = run_cases(driver, [(text[:end], b"", ROOM) for end in range(len(text))])
    assert {status for status, _, _ in results} == {cases.ERROR_JSON}


PARAM = ("p0", "2/32", (4,), bytes(range(16)))
OTHER = ("elsewhere", "0/8", (3,), b"abc")


def test_parameters_are_loaded_by_name(driver: Path) -> None:
    text = cases.json_of(cases.valid_graph())
    for blob in (cases.params_of(PARAM), cases.params_of(OTHER, PARAM), cases.params_of()):
        assert status_of(driver, text, blob) == 0
        shorter = [(text, blob[:end], ROOM) for end in range(1, len(blob))]
        assert {status for status, _, _ in run_cases(driver, shorter)} == {-13}
        assert status_of(driver, text, blob + b"\0") == -13


@pytest.mark.parametrize(
    "param",
    [
        ("p0", "2/32", (5,), bytes(20)),
        ("p0", "2/32", (2, 2), bytes(16)),
        ("p0", "0/32", (4,), bytes(16)),
        ("p0", "2/64", (4,), bytes(16)),
        ("p0", "2/32", (4,), bytes(15)),
        ("p0", "2/32", (4,), bytes(17)),
    ],
)
def test_parameter_of_another_type_is_refused(
    driver: Path, param: tuple[str, str, tuple[int, ...], bytes]
) -> None:
    text = cases.json_of(cases.valid_graph())
    assert status_of(driver, text, cases.params_of(param)) == -12


def mutated(data: bytes, source: random.Random) -> bytes:
    """``data`` with a few bytes changed, removed, doubled, or replaced by something telling."""
    telling = [b'"', b"[", b"]", b"{", b"}", b",", b":", b"0", b"9999999999", b"-1", b"\\", b"\0"]
    changed = bytearray(data)
    for _ in range(source.randint(1, 4)):
        at = source.randrange(len(changed) + 1)
        end = min(len(changed), at + source.choice((0, 1, 1, 2, 8, 40)))
        match source.randrange(4):
            case 0:
                changed[at:end] = source.randbytes(end - at)
            case 1:
                changed[at:end] = b""
            case 2:
                changed[at:at] = changed[at:end]
            case _:
                changed[at:end] = source.choice(telling)
    return bytes(changed)


def test_random_mutations_end_in_a_status(driver: Path) -> None:
    """The sanitizers end the driver at the first byte that is touched wrongly."""
    source = random.Random(20240607)
    texts = [cases.json_of(cases.valid_graph()), cases.json_of(cases.planned_graph())]
    blob = cases.params_of(OTHER, PARAM)
    inputs = []
    for number in range(MUTATIONS):
        text, params = source.choice(texts), blob
        if number % 4:
            text = mutated(text, source)
        else:
            params = mutated(params, source)
        inputs.append((text, params, source.choice((0, 64, 600, 1200, ROOM))))
    statuses = {status for status, _, _ in run_cases(driver, inputs)}
    assert statuses <= set(range(-15, 1))
    assert statuses >= {0, -2, -6, -8, -9, -12, -13}


@pytest.mark.parametrize("compiler", ["gcc", "clang", "arm-none-eabi-gcc"])
def test_no_warnings(compiler: str, tmp_path: Path) -> None:
    clang = [sys.executable, "-m", "ziglang", "cc", "-Wsign-conversion"]
    command = clang if compiler == "clang" else [compiler]
    if not shutil.which(command[0]):
        pytest.skip(f"needs {compiler}")
    for source in SOURCES:
        arguments = [*WARNINGS, "-O2", f"-I{crt_include_dir()}", "-c", str(source)]
        arguments += ["-ffreestanding"] if compiler.startswith("arm") else []
        done = subprocess.run(
            [*command, *arguments, "-o", str(tmp_path / "object.o")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


def arm_objects(folder: Path, optimize: str, stems: list[str]) -> list[str]:
    """The runtime's files as objects for a Cortex-M4; skips without the compiler."""
    if not shutil.which("arm-none-eabi-gcc"):
        pytest.skip("needs arm-none-eabi-gcc")
    objects = []
    for stem in stems:
        objects.append(str(folder / f"{stem}.o"))
        flags = ["-mcpu=cortex-m4", "-mthumb", optimize, "-std=c99", "-ffreestanding", "-fbuiltin"]
        command = ["arm-none-eabi-gcc", *flags, f"-I{crt_include_dir()}", "-c"]
        subprocess.run([*command, str(CRT / "src" / f"{stem}.c"), "-o", objects[-1]], check=True)
    return objects


@pytest.mark.parametrize("optimize", ["-Os", "-O2", "-O3"])
def test_nothing_is_needed_but_memory_functions(tmp_path: Path, optimize: str) -> None:
    objects = arm_objects(tmp_path, optimize, list(GRAPH_EXECUTOR))
    whole = str(tmp_path / "whole.o")
    subprocess.run(["arm-none-eabi-ld", "-r", *objects, "-o", whole], check=True)
    listed = subprocess.run(
        ["arm-none-eabi-nm", "-u", whole], capture_output=True, text=True, check=True
    )
    needed = {line.split()[-1] for line in listed.stdout.splitlines()}
    assert needed <= {"memcmp", "memcpy", "memmove", "memset"}


@pytest.mark.parametrize(("optimize", "budget"), FLASH_BYTES.items())
def test_size_stays_within_its_budget(tmp_path: Path, optimize: str, budget: int) -> None:
    """All of the graph executor; only the names of status codes, which are for logs, stay apart."""
    stems = [name for name in GRAPH_EXECUTOR if name != "status"]
    sizes = subprocess.run(
        ["arm-none-eabi-size", "-t", *arm_objects(tmp_path, optimize, stems)],
        capture_output=True,
        text=True,
        check=True,
    )
    text, data, bss = map(int, sizes.stdout.splitlines()[-1].split()[:3])
    assert (data, bss) == (0, 0)
    assert 0 < text <= budget


def test_every_status_has_its_name() -> None:
    header = (crt_include_dir() / "utvm" / "runtime.h").read_text(encoding="utf-8")
    codes = re.findall(r"^  (TVM_[A-Z_]+) = (-?\d+),?", header, re.M)
    assert [int(code) for _, code in codes] == [-i for i in range(len(codes))]
    names = re.findall(r'^ +"(TVM_[A-Z_]+)",', SOURCES[-2].read_text(encoding="utf-8"), re.M)
    assert SOURCES[-2].stem == "status"
    assert names == [name for name, _ in codes]
