"""PostgreSQL for tests: any server (`Postgres`), and one of our own that can be stopped and killed."""

from __future__ import annotations

import os
import pwd
import secrets
import signal
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy.engine import URL, make_url

from tests.servers import watcher
from tests.servers.leash import Leash, NoServer, free_ports, wait_for

START_WITHIN_S = 60.0
STOP_WITHIN_S = 30.0

Prepare = Callable[[str], object]
"""Fills an empty database, given its URL: migrations, for example."""

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",  # a test that kills the server must find what was committed
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Postgres:
    """A PostgreSQL server, wherever it came from. Tests get databases of their own."""

    owned = False
    """Whether it was started by us and may be stopped, paused and killed."""

    def __init__(self, url: str) -> None:
        self._parsed = make_url(url).set(drivername="postgresql+psycopg")
        self.url = _text(self._parsed)
        """`postgresql+psycopg://user:password@host:port/database`, of a user who may create databases."""
        self._databases: list[str] = []
        self._prepared: dict[Prepare, str] = {}

    def fresh_database(self, prepared_by: Prepare | None = None) -> str:
        """Make a database and give its URL: empty, or a copy of one that `prepared_by` filled once."""
        if prepared_by is None:
            return self._create("template0")
        if prepared_by not in self._prepared:
            template = self._create("template0")
            prepared_by(template)
            self._cut_off(template)  # a database in use cannot be copied
            self._prepared[prepared_by] = template
        return self._create(make_url(self._prepared[prepared_by]).database or "")

    def drop_database(self, url: str) -> None:
        """Remove a database made by `fresh_database`, whoever is still connected."""
        name = make_url(url).database or ""
        self._run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        self._databases.remove(name)

    def psql(self, statement: str, *, url: str | None = None) -> list[tuple[object, ...]]:
        """Run SQL, committed at once, in a database (default: the server's own), and give its rows."""
        parsed = make_url(url) if url else self._parsed
        with psycopg.connect(self._address(parsed), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def close(self) -> None:
        """Let go of the server and drop what was made on it; one of our own is stopped."""
        for name in list(self._databases):
            self.drop_database(_text(self._parsed.set(database=name)))

    def _create(self, template: str) -> str:
        name = f"test_{len(self._databases) + 1}_{secrets.token_hex(4)}"
        command = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        self._run(command.format(sql.Identifier(name), sql.Identifier(template)))
        self._databases.append(name)
        return _text(self._parsed.set(database=name))

    def _run(self, command: sql.Composed) -> None:
        with psycopg.connect(self._address(self._parsed), autocommit=True) as connection:
            connection.execute(command)

    def _cut_off(self, url: str) -> None:
        self.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND datname = current_database()",
            url=url,
        )

    @staticmethod
    def _address(parsed: URL) -> str:
        return _text(parsed.set(drivername="postgresql"))


class OwnPostgres(Postgres):
    """A PostgreSQL server of our own on a free loopback port, with its own directory, and fsync on."""

    owned = True

    def __init__(self, programs: Path, leash: Leash, *, environment: Mapping[str, str] | None = None) -> None:
        self._programs = programs
        self._leash = leash
        self._environment = {**os.environ, "LC_ALL": "C", **(environment or {})}
        self._log = leash.directory / "server.log"
        self.port = free_ports(1)[0]
        password = secrets.token_hex(8)
        super().__init__(f"postgresql://payments:{password}@127.0.0.1:{self.port}/postgres")
        self._make_cluster(password)
        self._process = self._spawn()

    def program(self, name: str) -> Path:
        """One of the programs that belong to the server, such as `pg_dump`."""
        return self._programs / name

    @property
    def pid(self) -> int:
        """The process id of the postmaster; another one after `start`."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the postmaster is there, be it paused."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Shut down in good order, cutting off whoever is connected; the data is kept for `start`."""
        self.resume()
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill the postmaster and every backend, as a power cut would; the data is kept for `start`."""
        members = watcher.family(self.pid)
        watcher.send(members, signal.SIGKILL)
        self._end(signal.SIGKILL, members)

    def start(self) -> None:
        """Start again after `stop` or `kill`: same port, same user, same data."""
        if not self.is_running:
            self._process = self._spawn()

    def pause(self) -> None:
        """Freeze the postmaster and every backend: connections stay open and nothing answers."""
        watcher.send([self.pid], signal.SIGSTOP)  # first, so that no backend is born meanwhile
        watcher.send(watcher.family(self.pid), signal.SIGSTOP)

    def resume(self) -> None:
        """Let the frozen processes go on."""
        if self.is_running:
            watcher.send(watcher.family(self.pid), signal.SIGCONT)

    def ensure_running(self) -> None:
        """Undo what a test did: go on if frozen, start if stopped."""
        self.resume()
        self.start()

    def close(self) -> None:
        """Stop the server and remove its directory, with every database in it."""
        self.resume()
        self._end(signal.SIGQUIT)  # at once: its data is about to be thrown away
        self._leash.close()

    def _make_cluster(self, password: str) -> None:
        secret = self._leash.directory / "password"
        secret.touch(mode=0o600)
        secret.write_text(password)
        user = self._leash.user
        if user:
            os.chown(secret, user.pw_uid, user.pw_gid)
        initdb = self._leash.spawn(
            [
                str(self._programs / "initdb"),
                f"--pgdata={self._leash.directory / 'data'}",
                f"--pwfile={secret}",
                "--username=payments",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ],
            environment=self._environment,
            log=self._log,
            last_signal=signal.SIGTERM,
        )
        if initdb.wait(START_WITHIN_S):
            raise NoServer(f"initdb failed:\n{self._log.read_text()[-2000:]}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
        process = self._leash.spawn(
            [
                str(self._programs / "postgres"),
                f"-D{self._leash.directory / 'data'}",
                f"--port={self.port}",
                *settings,
            ],
            environment=self._environment,
            log=self._log,
            last_signal=signal.SIGQUIT,
        )
        wait_for(self._answers, process=process, log=self._log, within_s=START_WITHIN_S)
        return process

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._address(self._parsed), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, number: int, members: list[int] | None = None) -> None:
        if self.is_running:
            everyone = members or watcher.family(self.pid)
            self._process.send_signal(number)
            try:
                self._process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                watcher.send(everyone, signal.SIGKILL)
                self._process.wait()
            # A backend that outlives the postmaster would keep the next one from starting.
            watcher.wait_until_gone(everyone, STOP_WITHIN_S)


def server_user() -> pwd.struct_passwd | None:
    """Whom PostgreSQL runs as: ourselves, or somebody without power where we are root, which it refuses."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    user = known.get("postgres") or known.get("nobody")
    if user is None:
        raise NoServer("PostgreSQL refuses to run as root: add a user `postgres` or `nobody` to this machine")
    return user


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)
