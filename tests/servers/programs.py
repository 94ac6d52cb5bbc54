"""Where the programs of RabbitMQ and PostgreSQL are on this machine, and how they get there if missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.leash import NoServer

UNPACKED = Path(__file__).resolve().parents[2] / ".servers"
"""Where an ordinary user's packages are unpacked, each in its own directory; `make clean` removes it."""

POLICY = Path("/usr/sbin/policy-rc.d")
CLUSTERS = Path("/etc/postgresql-common/createcluster.conf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """A directory with a server's programs, and what they need in their environment to run from there."""

    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A server as Debian packs it, and how to recognise its programs."""

    name: str
    places: str
    """A pattern below `/` for the directories it may be in."""
    needs: tuple[str, ...]
    """Files such a directory holds; the first is the program looked for in PATH."""


RABBITMQ = Package(
    name="rabbitmq-server",
    places="usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",
    needs=(
        "rabbitmq-server",
        "rabbitmqctl",
        "rabbitmq-env",
    ),  # the last is not beside Debian's wrapper scripts
)
POSTGRES = Package(name="postgresql", places="usr/lib/postgresql/*/bin", needs=("postgres", "initdb"))


def find_or_install(package: Package, *, say: Callable[[str], None]) -> Programs:
    """Find a server's programs on this machine; on Debian and its like, install them if they are missing.

    Raises:
        NoServer: they are not here and cannot be installed.
    """
    found = _find(package)
    if found is None and shutil.which("apt-get"):
        if os.geteuid() == 0:
            say(f"Installing {package.name} for the tests (no service is started) ...")
            _install(package)
        else:
            say(f"Unpacking {package.name} for the tests into {UNPACKED} ...")
            _unpack(package)
        found = _find(package)
    if found is None:
        raise NoServer(f"{package.name} is not installed here")
    return found


def _find(package: Package) -> Programs | None:
    in_path = shutil.which(package.needs[0])
    found = [
        *_newest_first(Path("/").glob(package.places)),
        *([Path(in_path).resolve().parent] if in_path else []),
    ]
    for directory in found:
        if all((directory / name).exists() for name in package.needs):
            return Programs(directory=directory)
    root = UNPACKED / package.name
    for directory in _newest_first(root.glob(package.places)):
        return Programs(directory=directory, environment=_environment_of(root))
    return None


def _newest_first(directories: Iterator[Path]) -> list[Path]:
    return sorted(directories, key=lambda path: [int(n) for n in re.findall(r"\d+", str(path))], reverse=True)


def _environment_of(root: Path) -> dict[str, str]:
    """What makes programs run from below `root` that were built to be run from `/`."""
    libraries = [*root.glob("usr/lib/*-linux-gnu*"), *root.glob("lib/*-linux-gnu*")]
    return {
        "PATH": f"{root}/usr/bin:{root}/bin:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": ":".join(str(path) for path in libraries),
        "ERL_LIBS": f"{root}/usr/lib/erlang/lib",
    }


def _install(package: Package) -> None:
    """Install with apt, as root, leaving no service behind that runs now or after the next boot."""
    _run(["apt-get", "-q", "update"], check=False)  # a broken third-party source is not our business
    with _no_service_starts(), _no_cluster_is_made() if package is POSTGRES else nullcontext():
        waiting = ["-o", "DPkg::Lock::Timeout=300"]
        _run(["apt-get", "-q", "-y", *waiting, "--no-install-recommends", "install", package.name])
    if shutil.which("systemctl"):
        _run(["systemctl", "disable", package.name], check=False)


@contextmanager
def _no_service_starts() -> Iterator[None]:
    """Tell Debian's package scripts not to start services, unless the machine has a policy of its own."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


@contextmanager
def _no_cluster_is_made() -> Iterator[None]:
    """Tell Debian's PostgreSQL not to set up a database cluster of its own."""
    before = CLUSTERS.read_text() if CLUSTERS.exists() else None
    CLUSTERS.parent.mkdir(exist_ok=True)
    CLUSTERS.write_text((before or "") + "\ncreate_main_cluster = false\n")
    try:
        yield
    finally:
        untouched = CLUSTERS.with_name(f"{CLUSTERS.name}.ucf-dist")
        if before is not None:
            CLUSTERS.write_text(before)
        elif untouched.exists():  # what the package would have put in our file's place
            untouched.replace(CLUSTERS)
        else:
            CLUSTERS.unlink(missing_ok=True)


def _unpack(package: Package) -> None:
    """Fetch a package and whatever it needs that is not installed, and unpack it all without being root."""
    UNPACKED.mkdir(exist_ok=True)
    root = UNPACKED / package.name
    with tempfile.TemporaryDirectory(dir=UNPACKED) as work:
        for part in ("state/lists/partial", "cache/archives/partial", "unpacked"):
            Path(work, part).mkdir(parents=True)
        apt = ["apt-get", "-q", "-y", "-o", "Debug::NoLocking=1", "-o", f"Dir::State={work}/state"]
        apt += ["-o", "Dir::State::status=/var/lib/dpkg/status", "-o", f"Dir::Cache={work}/cache"]
        _run([*apt, "update"], check=False)
        _run([*apt, "--download-only", "--no-install-recommends", "install", package.name])
        for archive in Path(work, "cache/archives").glob("*.deb"):
            _run(["dpkg", "-x", str(archive), f"{work}/unpacked"])
        erl = Path(work, "unpacked/usr/lib/erlang/bin/erl")
        if erl.exists():  # it knows its place by heart, and would run another Erlang or none
            here = "ROOTDIR=/usr/lib/erlang"
            erl.write_text(erl.read_text().replace(here, f"ROOTDIR={root}/usr/lib/erlang"))
        Path(work, "unpacked").rename(root)  # all of it or nothing


def _run(command: Sequence[str], *, check: bool = True) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise NoServer(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()[-1000:]}")
