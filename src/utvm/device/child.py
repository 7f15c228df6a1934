"""Processes that never outlive us: QEMU, OpenOCD, native servers, debuggers.

In: a command and where its streams go. Out: a process that has begun to run the program; a program
that cannot be started is an ``OSError``. ``end_child`` ends it with all that it started. Should we
end without that, even by SIGKILL, the kernel kills it: on Linux. Elsewhere it is only killed by
``end_child``, so callers close what they open.

The kernel's promise (PR_SET_PDEATHSIG) is about the thread that forked, not about the process: a
child would die with the thread that happened to start it. So one thread starts all children and
lives as long as we do. The child itself makes the call, in ``child_launcher.py``, because nothing
but exec may safely run between fork and exec in a process with threads.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from utvm.support.interrupts import interrupts_held

LAUNCHER = Path(__file__).with_name("child_launcher.py")

Stream = int | IO[bytes] | None
Child = subprocess.Popen[bytes]


def start_child(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    stdin: Stream = subprocess.DEVNULL,
    stdout: Stream = subprocess.DEVNULL,
    stderr: Stream = subprocess.DEVNULL,
    own_group: bool = True,
    inherited: tuple[int, ...] = (),
) -> Child:
    """Starts ``command``, in a session and process group of its own unless told otherwise.

    A program in our group gets what is typed at the terminal, Ctrl-C included. It has the files
    ``inherited`` open, besides the standard ones. Interrupts wait until it runs, and then end it;
    callers hold them (support/interrupts.py) until they can undo the start.
    """

    def start(command: Sequence[str], inherited: tuple[int, ...]) -> Child:
        return subprocess.Popen(
            command,
            cwd=folder,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            bufsize=0,
            start_new_session=own_group,
            pass_fds=inherited,
        )

    # Cut short, neither the thread that starts children nor a child would be known to anybody.
    with interrupts_held() as release:
        child = _started(start, command, inherited)
        try:
            release()
        except KeyboardInterrupt:
            end_child(child)
            raise
    return child


def _started(
    start: Callable[[Sequence[str], tuple[int, ...]], Child],
    command: Sequence[str],
    inherited: tuple[int, ...],
) -> Child:
    """The child, which has begun to run ``command``."""
    if sys.platform != "linux" or not sys.executable:
        return start(command, inherited)
    reader, writer = os.pipe()
    with open(reader, "rb") as failure:
        try:
            # -I -S: neither the caller's environment nor site packages have a say in this.
            launcher = (sys.executable, "-I", "-S", str(LAUNCHER), str(writer), str(os.getpid()))
            files = (*inherited, writer)
            child = _starter(os.getpid()).submit(start, (*launcher, *command), files).result()
        finally:
            os.close(writer)
        errno = failure.read()
    if errno:
        end_child(child)
        raise OSError(int(errno), os.strerror(int(errno)), command[0])
    return child


def end_child(child: Child) -> None:
    """Kills the process, and its group when it leads one, and waits for it; may be called again."""
    # The group exists, and the number is not another's, as long as its leader is not waited for.
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(child.pid) == child.pid:
                os.killpg(child.pid, signal.SIGKILL)
            else:
                child.kill()
        child.wait()
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            stream.close()


def child_ending(child: Child, seconds: float) -> str:
    """How a process ended: ``signal SIGKILL``, ``status 1``; empty if it still runs."""
    try:
        status = child.wait(seconds)
    except subprocess.TimeoutExpired:
        return ""
    if status >= 0:
        return f"status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"


@functools.cache
def _starter(pid: int) -> ThreadPoolExecutor:
    """The thread that starts children; a forked copy of us, which has no threads, gets its own."""
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="utvm-child")
