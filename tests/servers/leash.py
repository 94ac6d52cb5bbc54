"""A directory and the server processes in it, none of which outlive the program that started them."""

from __future__ import annotations

import os
import pwd
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers import watcher

POLL_S = 0.05
PORTS = range(15000, 32000)
"""Below the ports Linux gives to outgoing connections: one of those could take our port while a server is
stopped, and a client that keeps knocking at a closed port of that range may end up connected to itself."""


class NoServer(Exception):
    """A server for the tests could not be found, installed or started; the text says what to do."""


class Leash:
    """Holds a temporary directory and server processes until it is closed, or until this program dies.

    A watcher process cleans up in both cases, so kill -9 of a test run leaves no server and no file behind.
    """

    def __init__(self, name: str, *, user: pwd.struct_passwd | None = None) -> None:
        self.user = user
        self.directory = Path(tempfile.mkdtemp(prefix=f"payments-{name}-", dir=_place_open_to(user)))
        if user:
            os.chown(self.directory, user.pw_uid, user.pw_gid)
        self._watcher = subprocess.Popen(
            [sys.executable, "-E", "-S", watcher.__file__, str(self.directory)],
            stdin=subprocess.PIPE,
            cwd="/",
            start_new_session=True,  # a Ctrl-C at the terminal is for the test run alone
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def spawn(
        self, command: Sequence[str], *, environment: Mapping[str, str], log: Path, last_signal: int
    ) -> subprocess.Popen[bytes]:
        """Start a program that will be sent `last_signal` at the latest when this program ends."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                env=dict(environment),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self.user.pw_uid if self.user else None,
                group=self.user.pw_gid if self.user else None,
                extra_groups=[] if self.user else None,
            )
        line = f"{process.pid} {watcher.started_at(process.pid)} {int(last_signal)}\n"
        assert self._watcher.stdin is not None
        self._watcher.stdin.write(line.encode())
        self._watcher.stdin.flush()
        return process

    def close(self) -> None:
        """End what still runs and remove the directory."""
        if self._watcher.stdin is not None:
            self._watcher.stdin.close()
        self._watcher.wait()


def free_ports(count: int) -> list[int]:
    """Find ports of the loopback interface that nobody listens on."""
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            break
    return found


def wait_for(
    is_ready: Callable[[], bool], *, process: subprocess.Popen[bytes], log: Path, within_s: float
) -> None:
    """Wait until a server that was just started is ready.

    Raises:
        NoServer: it ended, or was not ready within `within_s` seconds; the text holds the end of its log.
    """
    deadline = time.monotonic() + within_s
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            told = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            ended = process.returncode is not None
            how = f"ended with status {process.returncode}" if ended else "is not ready"
            raise NoServer(f"{process.args!r} {how}; the end of its log:\n{told}")
        time.sleep(POLL_S)


def _place_open_to(user: pwd.struct_passwd | None) -> str:
    """Choose a directory for temporary files that `user` may enter; pytest's own are closed to others."""
    if user is None:
        return tempfile.gettempdir()
    for place in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        path = Path(place).resolve()
        if all(step.stat().st_mode & 0o001 for step in (path, *path.parents)):
            return place
    raise NoServer(f"user {user.pw_name} may enter no directory for temporary files: set TMPDIR to one")
