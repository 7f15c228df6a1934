"""Running a compiler or another short helper program of the toolchain.

In goes a command line, out comes its standard output; failure to start or a non-zero exit is a
``ToolchainError`` with the first line that says what is wrong.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from utvm.support.errors import MemoryLimitError, ToolchainError, UtvmError

# file:line:column: error: text, or ld.lld: error: text; collect2 only says that ld failed
_ERROR = re.compile(
    r"^(?P<where>(?!collect2)[^:\n]+(?::\d+)*): (?:fatal )?error: (?P<what>.*)$", re.M
)
# GNU ld says no "error": program: file:place: text
_LINK_ERROR = re.compile(
    r"(?P<what>(?:undefined reference|multiple definition|unplaced orphan|section \S+ will not fit"
    r"|region \S+ overflowed|the stack is too small|the program leaves no memory).*)$",
    re.M,
)
_DOES_NOT_FIT = re.compile(
    r"will not fit in region|region \S+ overflowed|the stack is too small|leaves no memory"
)
_MESSAGE_LIMIT = 200


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


def _failure(program: str, status: int, output: str) -> UtvmError:
    """The error that the output of a failed program tells of."""
    match = _ERROR.search(output) or _LINK_ERROR.search(output)
    if match is None:
        lines = [line for line in output.splitlines() if line.strip()]
        found = _plain(lines[0]) if lines else "no message"
        return ToolchainError(
            f"the program failed with status {status}", where=program, found=found
        )
    what = _plain(match["what"])
    if _DOES_NOT_FIT.search(what):
        return MemoryLimitError(what, where=program, hint="use a board with more memory")
    place = match.groupdict().get("where") or "link"
    return ToolchainError(what, where=f"{program}: {_plain(Path(place).name)}")


def _plain(text: str) -> str:
    """One line of a tool's output: printable ASCII, quotes included, and not too long."""
    return re.sub(r"[^ -~]", "?", text.replace("`", "'"))[:_MESSAGE_LIMIT]
