"""Mistakes on the command line: one clear line each, the right exit code, never a traceback.

Every row of ``MISTAKES`` is a mistake and the text that must tell of it. Broken models have tests
of their own in tests/errors.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Utvm
from utvm.cli import targets
from utvm.support.errors import InternalError

ROW = np.zeros((1, 1, 8, 8, 1), np.int8)
Files = Callable[[Path], None]


def savez(name: str, **arrays: object) -> Files:
    return lambda folder: np.savez(folder / name, allow_pickle=True, **arrays)  # type: ignore[arg-type]


def text(name: str, content: str | bytes) -> Files:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(data) and None


def truncated(folder: Path) -> None:
    np.savez(folder / "f.npz", in0=np.repeat(ROW, 100, 0))
    whole = (folder / "f.npz").read_bytes()
    (folder / "f.npz").write_bytes(whole[: len(whole) // 2])


def short_member(folder: Path) -> None:
    """An array whose header promises more rows than there are."""
    np.savez(folder / "f.npz", in0=np.repeat(ROW, 100, 0))
    whole = (folder / "f.npz").read_bytes()
    (folder / "f.npz").write_bytes(whole.replace(b"(100, 1, 8", b"(900, 1, 8"))


def huge(folder: Path) -> None:
    np.savez(folder / "f.npz", in0=np.zeros((1, 1, 8, 8, 1), np.int8))
    whole = (folder / "f.npz").read_bytes()
    (folder / "f.npz").write_bytes(whole.replace(b"(1, 1, 8, 8, 1)", b"(9**9,8,8,1)  "[:15]))


NOTHING: Files = lambda folder: None  # noqa: E731
INPUT = ("MODEL", "--input", "f.npz")
MISTAKES: dict[str, tuple[tuple[str, ...], Files, str]] = {
    "no model": (("nothing.tflite",), NOTHING, "nothing.tflite: the model cannot be read: No such"),
    "folder": ((".",), NOTHING, "the model is a folder; expected a model file"),
    "unknown kind": (("m.bin",), text("m.bin", "hello"), "the kind of this model is not known"),
    "onnx": (("m.onnx",), text("m.onnx", "hello"), "convert the model to TFLite"),
    "empty": (("m.tflite",), text("m.tflite", ""), "m.tflite: this is not a TFLite file; expected"),
    "cut off": (
        ("m.tflite",),
        text("m.tflite", b"\x00\x00\x00\x7fTFL3"),
        "m.tflite: root table: the file is truncated or damaged; expected",
    ),
    "binary graph": (("m.graph",), text("m.graph", b"graph \xff"), "the graph is not UTF-8 text"),
    "broken graph": (("m.graph",), text("m.graph", "graph x("), "m.graph"),
    "params of tflite": (("MODEL", "--params", "f.npz"), NOTHING, "brings its own constants"),
    "unknown target": (
        ("MODEL", "--target", "cortex-m77"),
        NOTHING,
        "unknown target 'cortex-m77'; expected one of",
    ),
    "unknown board": (("MODEL", "--board", "arduino"), NOTHING, "unknown board 'arduino'"),
    "board of another target": (
        ("MODEL", "--target", "cortex-m7", "--board", "emu_cortex_m4"),
        NOTHING,
        "has another processor; expected --target cortex-m4; found --target cortex-m7; hint:",
    ),
    "unknown toolchain": (
        ("MODEL", "--toolchain", "nocc"),
        NOTHING,
        "no program 'nocc' is installed; hint: use zig, gcc, or",
    ),
    "unknown stage": (("MODEL", "--print-after", "fuse"), NOTHING, "expected one of import, "),
    "expect alone": (("MODEL", "--expect", "f.npz"), NOTHING, "--expect needs --input"),
    "no input file": (INPUT, NOTHING, "f.npz: the file cannot be read: No such file"),
    "not an npz": (INPUT, text("f.npz", "hello"), "f.npz: the file is no .npz archive, or is cut"),
    "truncated npz": (INPUT, truncated, "f.npz: the file is no .npz archive, or is cut short"),
    "short array": (INPUT, short_member, "f.npz: in0: the array is damaged or cut short"),
    "impossible header": (INPUT, huge, "f.npz: in0: the array is damaged or cut short"),
    "pickled": (
        INPUT,
        savez("f.npz", in0=np.array([{}], object)),
        "f.npz: in0: the array has another element type; expected int8; found object",
    ),
    "missing array": (
        INPUT,
        savez("f.npz", x=ROW),
        "f.npz: in0: the archive has no such array; expected in0; found x",
    ),
    "surplus array": (
        INPUT,
        savez("f.npz", in0=ROW, in1=ROW),
        "f.npz: in1: the model has no such tensor; expected in0",
    ),
    "wrong type": (
        INPUT,
        savez("f.npz", in0=ROW.astype(np.float32)),
        "in0: the array has another element type; expected int8; found float32",
    ),
    "wrong shape": (
        INPUT,
        savez("f.npz", in0=ROW[:, :, :7]),
        "in0: the array has another shape; expected [rows,1,8,8,1]; found [1,1,7,8,1]",
    ),
    "no row axis": (INPUT, savez("f.npz", in0=ROW[0]), "save in0=array[None] for one invocation"),
    "scalar": (INPUT, savez("f.npz", in0=np.int8(1)), "in0: the array has another shape"),
    "no rows": (INPUT, savez("f.npz", in0=ROW[:0]), "the arrays have no rows; expected 1 or more"),
    "other number of rows": (
        (*INPUT, "--expect", "f.npz"),
        savez("f.npz", in0=ROW, out0=np.zeros((2, 1, 10), np.int8)),
        "have different numbers of rows; expected 1 rows, as in the inputs; found 2 rows",
    ),
    "nothing to expect": (
        (*INPUT, "--expect", "f.npz"),
        savez("f.npz", in0=ROW),
        "out0: the archive has no such array",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_one_line(
    utvm: Utvm, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    arguments, prepare, expected = MISTAKES[name]
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    arguments = tuple(str(digits) if word == "MODEL" else word for word in arguments)
    done = utvm("run", *arguments, "--keep", "kept", "--output", "out.npz")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("utvm: error: ") and done.err.count("\n") == 1
    assert expected in done.err
    assert sorted(tmp_path.iterdir()) == before
    with_json = utvm("run", *arguments, "--json")
    assert with_json.code == 1
    error = json.loads(with_json.out)["error"]
    assert done.err == f"utvm: error: {error['message']}\n"
    assert set(error) == {"kind", "message", "what", "where", "expected", "found", "hint"}


@pytest.mark.parametrize("verb", ["run", "inspect", "compile"])
def test_a_model_that_is_cut_off_is_named(utvm: Utvm, tmp_path: Path, verb: str) -> None:
    (tmp_path / "m.tflite").write_bytes(b"\x00\x00\x00\x7fTFL3")
    output = ("-o", tmp_path / "out") if verb == "compile" else ()
    done = utvm(verb, tmp_path / "m.tflite", *output)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("utvm: error: m.tflite: root table: the file is truncated")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments",
    [(), ("frobnicate",), ("run",), ("run", "a", "b"), ("run", "a", "--nope"), ("compile", "a")],
)
def test_wrong_usage_exits_with_2(utvm: Utvm, arguments: tuple[str, ...]) -> None:
    done = utvm(*arguments)
    assert done.code == 2
    assert "Usage: utvm" in done.err and "Traceback" not in done.err


@pytest.mark.parametrize("defect", [InternalError("a rule broke"), AssertionError("a rule broke")])
def test_defect_asks_for_a_report(
    utvm: Utvm, monkeypatch: pytest.MonkeyPatch, defect: Exception
) -> None:
    def fail() -> None:
        raise defect

    monkeypatch.setattr(targets, "list_targets", fail)
    done = utvm("targets")
    assert done.code == 70 and done.out == ""
    assert "utvm: internal error: " in done.err and "a rule broke" in done.err
    assert "please report it" in done.err and "CONTRIBUTING.md" in done.err
    assert "Traceback" not in done.err
    assert "Traceback" in utvm("targets", "--debug").err
    assert json.loads(utvm("targets", "--json").out)["error"]["kind"] == "InternalError"


def test_machine_trouble_is_one_line(utvm: Utvm, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(28, "No space left on device", "/tmp/x")

    monkeypatch.setattr(targets, "list_targets", fail)
    assert utvm("targets").err == "utvm: error: /tmp/x: No space left on device\n"
