"""Migrated, empty books for one test, on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ledger.ledger import Ledger
from ledger.schema import migrate
from tests.keys import KEYRING
from tests.servers import Postgres


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file, copied for each test."""
    path = tmp_path_factory.mktemp("books") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """Books in a file."""
    path = tmp_path / "books.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """Books on PostgreSQL."""
    url = postgres.fresh_database(prepared_by=migrate)
    yield url
    postgres.drop_database(url)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """Books on either database."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """A worker's view of the books."""
    with closing(Ledger(url, keyring=KEYRING)) as opened:
        yield opened


@pytest.fixture
def postgres_ledger(postgres_url: str) -> Iterator[Ledger]:
    """A worker's view of the books on PostgreSQL."""
    with closing(Ledger(postgres_url, keyring=KEYRING)) as opened:
        yield opened
