"""What a child of ours runs first on Linux: it binds its life to ours, then becomes the program.

In: file descriptor of a pipe, our process id, the command. Out: nothing when the program has been
started: the pipe closes. Else the pipe says with which errno that failed. It runs as a script of
its own, without the rest of utvm and without site packages, since each start pays for it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h; kept over execve


def main(arguments: list[str]) -> None:
    """Does not return."""
    pipe, parent, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # A parent that died before that call sends nothing any more, but we have another parent then.
    if os.getppid() != parent:
        os._exit(1)
    # Python ignores these, and what is ignored stays so in the program.
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.set_inheritable(pipe, False)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(pipe, str(error.errno).encode())
    os._exit(127)


if __name__ == "__main__":
    main(sys.argv[1:])
