"""``utvm targets``, ``boards``, ``doctor``, ``--version`` and the help.

What is listed comes from the data files, which have tests of their own; here: that it is shown, as
text and as JSON, and that a broken installation is told apart from a whole one.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Utvm
from utvm.cli.main import COMMANDS
from utvm.target.board import list_boards
from utvm.target.target import list_targets


def test_targets(utvm: Utvm) -> None:
    done = utvm("targets")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()[1:]] == list(list_targets())
    listed = json.loads(utvm("targets", "--json").out)["targets"]
    assert [target["name"] for target in listed] == list(list_targets())
    by_name = {target["name"]: target for target in listed}
    assert by_name["cortex-m7"]["cycle_model"] == "cortex-m7"
    assert by_name["host"]["cycle_model"] is None


def test_boards(utvm: Utvm) -> None:
    done = utvm("boards")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()[1:]] == list(list_boards())
    listed = {b["name"]: b for b in json.loads(utvm("boards", "--json").out)["boards"]}
    assert list(listed) == list(list_boards())
    assert listed["emu_cortex_m4"]["memories"][0]["size_bytes"] == 4 << 20
    real = listed["nucleo_f746zg"]
    assert (real["runs_here"], real["detail"]) == (False, "connected: by openocd, pyocd")
    assert (real["probe"], real["uart"]["tx"]) == ("st-link", "PD8")
    assert real["flash_command"][0] == "openocd"


def test_boards_says_what_cannot_run_here(utvm: Utvm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    listed = {b["name"]: b for b in json.loads(utvm("boards", "--json").out)["boards"]}
    assert listed["emu_cortex_m4"]["runs_here"] is True
    without = "compiles; qemu-system-riscv32 is not installed"
    assert (listed["qemu_riscv32"]["runs_here"], listed["qemu_riscv32"]["detail"]) == (
        False,
        without,
    )


def test_doctor_finds_this_installation_healthy(utvm: Utvm) -> None:
    done = utvm("doctor")
    assert done.code == 0, done.out
    assert "everything that utvm needs works" in done.out
    report = json.loads(utvm("doctor", "--json").out)
    assert report["ok"] is True
    assert {"python", "cache folder", "zig", "emulator hooks"} <= {
        check["name"] for check in report["checks"] if check["needed"]
    }


def test_doctor_names_what_is_broken(
    utvm: Utvm, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("", encoding="ascii")
    monkeypatch.setenv("UTVM_CACHE_DIR", str(tmp_path / "file"))
    monkeypatch.setenv("PATH", str(tmp_path))
    done = utvm("doctor")
    assert done.code == 1
    assert "BROKEN" in done.out and "cache folder" in done.out and "UTVM_CACHE_DIR" in done.out
    missing = [line for line in done.out.splitlines() if line.startswith("missing")]
    assert any("qemu-system-arm" in line for line in missing)
    assert json.loads(utvm("doctor", "--json").out)["ok"] is False


def test_help_lists_every_command(utvm: Utvm) -> None:
    done = utvm("--help")
    assert done.code == 0
    assert all(name in done.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_json(utvm: Utvm, name: str) -> None:
    done = utvm(name, "--help")
    assert done.code == 0
    assert "--json" in done.out


def test_version_starts_without_the_compiler(command: tuple[str, ...]) -> None:
    code = command[2].replace(
        "sys.exit(main(sys.argv[1:]))",
        "main(['--version']); sys.exit(bool({'numpy', 'rich', 'unicorn'} & set(sys.modules)))",
    )
    done = subprocess.run([*command[:2], code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("utvm ")
