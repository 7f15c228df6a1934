"""Running a compiler or another short helper program of the toolchain.

In goes a command line, out comes its standard output; failure to start or a non-zero exit is a
``ToolchainError`` with the first line that says what is wrong.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from utvm.support.errors import ToolchainError
from utvm.support.text import printable

# file:line:column: error: text   |   ld.lld: error: text   |   file:(section+0x1): undefined ...
_COMPILER_ERROR = re.compile(r"^(?P<where>[^:\n]+(?::\d+)*): (?:fatal )?error: (?P<what>.*)$", re.M)
_LINKER_ERROR = re.compile(
    r"^(?P<where>[^\n]*?): (?P<what>(?:undefined|multiple) [^\n]*|"
    r"[^\n]*(?:will not fit|overflowed|too small|does not fit)[^\n]*)$",
    re.M,
)


def run_tool(
    command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> str:
    """The standard output of ``command``."""
    program = Path(command[0]).name
    try:
        done = subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise ToolchainError(
            "the program cannot be started", where=program, found=error.strerror or ""
        ) from error
    if done.returncode != 0:
        raise _failure(program, done.returncode, done.stderr + done.stdout)
    return done.stdout


def _failure(program: str, status: int, output: str) -> ToolchainError:
    match = _COMPILER_ERROR.search(output) or _LINKER_ERROR.search(output)
    if match is None:
        lines = [line for line in output.splitlines() if line.strip()]
        found = printable(lines[0], 200) if lines else "no message"
        return ToolchainError(
            f"the program failed with status {status}", where=program, found=found
        )
    where = Path(match["where"]).name
    return ToolchainError(printable(match["what"], 200), where=f"{program}: {printable(where)}")
