"""Ends the servers of a test run that can no longer do so itself (kill -9), and removes their directory.

A program of its own, started by `leash.py` with the directory as argument. It reads one line per server
process (`<pid> <when it started> <signal>`); when its input closes or its parent is gone, it ends them all.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

PARENT_POLL_S = 0.5
GRACE_S = 5.0


def started_at(pid: int) -> str:
    """When a process started, in ticks since boot; `0` where there is no /proc. Guards against reused ids."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return "0"


def family(pid: int) -> list[int]:
    """A process and everything below it, parents first."""
    found = [pid]
    for member in found:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found.extend(int(child) for child in children.read_text().split())
    return found


def is_running(pid: int) -> bool:
    """Whether a process exists and is more than a corpse nobody has collected."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except ProcessLookupError:
        return False
    except OSError:
        return True


def send(pids: Iterable[int], number: int) -> None:
    """Signal every process that is still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def wait_until_gone(pids: list[int], within_s: float) -> bool:
    """Wait until none of the processes runs, at most `within_s` seconds; say whether that came true."""
    deadline = time.monotonic() + within_s
    while any(is_running(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def end(pid: int, number: int) -> None:
    """End a server and its children: first as it likes to be asked, then by force."""
    members = family(pid)
    send(members, signal.SIGCONT)  # a paused process would only take note of the next signal
    send([pid], number)
    if not wait_until_gone(members, GRACE_S):
        send(members, signal.SIGKILL)
        wait_until_gone(members, GRACE_S)


def _lines_until_we_are_alone() -> list[str]:
    parent, text = os.getppid(), b""
    while os.getppid() == parent:
        ready, _, _ = select.select([sys.stdin], [], [], PARENT_POLL_S)
        if ready:
            chunk = os.read(sys.stdin.fileno(), 4096)
            if not chunk:
                break
            text += chunk
    return text.decode().splitlines()


def main(directory: str) -> None:
    """Wait for the end of the run, then clean up behind it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for line in _lines_until_we_are_alone():
        pid, started, last_signal = line.split()
        if started_at(int(pid)) == started and is_running(int(pid)):
            end(int(pid), int(last_signal))
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1])
