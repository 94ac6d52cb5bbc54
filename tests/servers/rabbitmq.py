"""RabbitMQ for tests: any server (`Rabbitmq`), and one of our own that can be stopped, paused and killed."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import httpx

from tests.servers import watcher
from tests.servers.leash import Leash, NoServer, free_ports, wait_for

START_WITHIN_S = 60.0
STOP_WITHIN_S = 30.0

CONFIGURATION = """\
listeners.tcp.local = 127.0.0.1:{amqp}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management}
# The HTTP interface makes and drops virtual hosts in milliseconds; its statistics would cost the broker time.
management_agent.disable_metrics_collector = true
default_user = {user}
default_pass = {password}
disk_free_limit.absolute = 50MB
log.file.level = info
"""


class Rabbitmq:
    """A RabbitMQ server, wherever it came from. Tests of their own kind get a virtual host of their own."""

    owned = False
    """Whether it was started by us and may be stopped, paused and killed."""

    def __init__(self, *, url: str, management_url: str, ctl: Callable[..., str]) -> None:
        parts = urlsplit(url)
        self.url = url
        """`amqp://user:password@host:port//`: the virtual host `/`."""
        self.host = parts.hostname or "127.0.0.1"
        self.port = parts.port or 5672
        self.management_url = management_url
        self.ctl = ctl
        """`ctl("list_queues", "name")` runs `rabbitmqctl` (half a second each) and gives what it printed."""
        self._user = unquote(parts.username or "guest")
        self._vhosts = 0
        self._api = httpx.Client(
            base_url=f"{management_url.rstrip('/')}/api/",
            auth=(self._user, unquote(parts.password or "guest")),
            timeout=30,
            trust_env=False,
        )

    @property
    def version(self) -> str:
        """Its version."""
        return str(self._call("GET", "overview").json()["rabbitmq_version"])

    def fresh_vhost(self) -> str:
        """Make an empty virtual host and give its URL."""
        self._vhosts += 1
        name = f"test-{self._vhosts}-{secrets.token_hex(3)}"
        self._call("PUT", f"vhosts/{name}")
        self._call(
            "PUT",
            f"permissions/{name}/{quote(self._user, safe='')}",
            {"configure": ".*", "write": ".*", "read": ".*"},
        )
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))

    def drop_vhost(self, url: str) -> None:
        """Remove a virtual host made by `fresh_vhost`, with its queues and connections."""
        self._call("DELETE", f"vhosts/{_vhost(url)}")

    def queues(self, url: str | None = None) -> list[str]:
        """Name the queues of a virtual host (default: `/`)."""
        return sorted(queue["name"] for queue in self._list(f"queues/{_vhost(url or self.url)}"))

    def purge_all(self, url: str | None = None) -> None:
        """Throw away every message that waits in a queue of a virtual host (default: `/`)."""
        vhost = _vhost(url or self.url)
        for queue in self.queues(url):
            self._call("DELETE", f"queues/{vhost}/{quote(queue, safe='')}/contents")

    def reset(self, url: str | None = None) -> None:
        """Remove every queue and every exchange but the built-in ones from a virtual host (default: `/`)."""
        vhost = _vhost(url or self.url)
        for queue in self.queues(url):
            self._call("DELETE", f"queues/{vhost}/{quote(queue, safe='')}")
        for exchange in self._list(f"exchanges/{vhost}"):
            if exchange["name"] and not exchange["name"].startswith("amq."):
                self._call("DELETE", f"exchanges/{vhost}/{quote(exchange['name'], safe='')}")

    def close(self) -> None:
        """Let go of the server; one of our own is stopped."""
        self._api.close()

    def _list(self, path: str) -> list[dict[str, str]]:
        rows: list[dict[str, str]] = self._call("GET", path).json()
        return rows

    def _call(self, method: str, path: str, body: dict[str, str] | None = None) -> httpx.Response:
        try:
            response = self._api.request(method, path, json=body)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise NoServer(
                f"Tests need RabbitMQ's management interface at {self.management_url}: {error}. "
                "Set PAYMENTS_TEST_MANAGEMENT_URL if it is elsewhere."
            ) from error
        return response


class OwnRabbitmq(Rabbitmq):
    """A RabbitMQ server of our own on free loopback ports, with its own node name, epmd and directory."""

    owned = True

    def __init__(self, programs: Path, leash: Leash, *, environment: Mapping[str, str] | None = None) -> None:
        self._programs = programs
        self._leash = leash
        self._home = leash.directory
        amqp, management, distribution, epmd = free_ports(4)
        password = secrets.token_hex(8)
        self.node = f"payments-{amqp}@localhost"
        self._environment = {**os.environ, **self._settings(distribution, epmd), **(environment or {})}
        (self._home / "rabbitmq.conf").write_text(
            CONFIGURATION.format(amqp=amqp, management=management, user="payments", password=password)
        )
        (self._home / "enabled_plugins").write_text("[rabbitmq_management].\n")
        (self._home / "advanced.config").write_text("[].\n")
        self._log = self._home / "server.log"
        self._epmd = leash.spawn(
            ["epmd", "-address", "127.0.0.1", "-port", str(epmd)],
            environment=self._environment,
            log=self._home / "epmd.log",
            last_signal=signal.SIGTERM,
        )
        super().__init__(
            url=f"amqp://payments:{password}@127.0.0.1:{amqp}//",
            management_url=f"http://127.0.0.1:{management}",
            ctl=self._rabbitmqctl,
        )
        self._process = self._spawn()

    def program(self, name: str) -> Path:
        """One of the programs that belong to the server, such as `rabbitmq-diagnostics`."""
        return self._programs / name

    @property
    def pid(self) -> int:
        """The process id of the Erlang machine; another one after `start`."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there, be it paused."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Shut down in good order; what is durable is kept for `start`."""
        self.resume()
        self._end(signal.SIGTERM)

    def settle(self) -> None:
        """Have the broker write down which quorum queues it holds, before a test kills it.

        RabbitMQ 3.10 does so every half second only. One killed sooner after the declaration of a quorum
        queue comes back with a queue that times out for good, and must be deleted by hand.
        """
        self.ctl("eval", "[dets:sync(Table) || Table <- dets:all()].")

    def kill(self) -> None:
        """Kill it, as a power cut would; what is durable is kept for `start` (but see `settle`)."""
        self._end(signal.SIGKILL)

    def start(self) -> None:
        """Start again after `stop` or `kill`: same port, same user, same data."""
        if not self.is_running:
            self._process = self._spawn()

    def pause(self) -> None:
        """Freeze the process: connections stay open and nothing answers."""
        watcher.send([self.pid], signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen process go on."""
        if self.is_running:
            watcher.send([self.pid], signal.SIGCONT)

    def ensure_running(self) -> None:
        """Undo what a test did: go on if frozen, start if stopped."""
        self.resume()
        self.start()

    def close(self) -> None:
        """Stop the server and remove its directory."""
        super().close()
        self._end(signal.SIGKILL)  # its data is about to be thrown away
        self._epmd.terminate()
        self._epmd.wait()
        self._leash.close()

    def _settings(self, distribution: int, epmd: int) -> dict[str, str]:
        home = str(self._home)
        loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
        return {
            "HOME": home,  # where Erlang keeps the cookie that lets rabbitmqctl in
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": f"{home}/rabbitmq",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{home}/advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{home}/data",
            "RABBITMQ_LOG_BASE": f"{home}/log",
            "RABBITMQ_PID_FILE": f"{home}/rabbitmq.pid",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_USE_LONGNAME": "false",
            "RABBITMQ_DIST_PORT": str(distribution),
            "ERL_EPMD_PORT": str(epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # "Input allowed" makes the start script become the server, not wait beside it: one pid to signal.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-noinput {loopback}",
            "RABBITMQ_CTL_ERL_ARGS": loopback,
        }

    def _spawn(self) -> subprocess.Popen[bytes]:
        process = self._leash.spawn(
            [str(self._programs / "rabbitmq-server")],
            environment=self._environment,
            log=self._log,
            last_signal=signal.SIGKILL,
        )
        wait_for(self._greets, process=process, log=self._log, within_s=START_WITHIN_S)
        return process

    def _greets(self) -> bool:
        """Whether the broker answers the first bytes of AMQP 0-9-1: it listens last of all when it boots."""
        try:
            with socket.create_connection((self.host, self.port), timeout=5) as line:
                line.sendall(b"AMQP\x00\x00\x09\x01")
                return line.recv(1) == b"\x01"
        except OSError:
            return False

    def _end(self, number: int) -> None:
        if self.is_running:
            members = watcher.family(self.pid)
            self._process.send_signal(number)
            try:
                self._process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            watcher.wait_until_gone(members, STOP_WITHIN_S)

    def run(self, script: Path, *arguments: str) -> str:
        """Run a script that calls this server's `rabbitmqctl`, and give what it printed."""
        return self._run(str(script), *arguments)

    def _rabbitmqctl(self, *arguments: str) -> str:
        return self._run(str(self._programs / "rabbitmqctl"), "--quiet", *arguments)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            env={**self._environment, "RABBITMQCTL": str(self._programs / "rabbitmqctl")},
            cwd=self._home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise NoServer(f"{' '.join(command)} failed: {done.stderr or done.stdout}")
        return done.stdout


def _vhost(url: str) -> str:
    """The virtual host of an AMQP URL, as it is written in a path of the management interface."""
    return quote(unquote(urlsplit(url).path[1:]) or "/", safe="")
