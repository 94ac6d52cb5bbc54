"""Migrated, empty books for one test, on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.ledger import Ledger
from ledger.schema import migrate
from tests.servers import Postgres


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file, copied for each test."""
    path = tmp_path_factory.mktemp("books") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Books on either database."""
    if request.param == "sqlite":
        path = tmp_path / "books.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
    else:
        yield from _on_postgres(request.getfixturevalue("postgres"))


@pytest.fixture
def postgres_url(postgres: Postgres) -> Iterator[str]:
    """Books on PostgreSQL, for what SQLite does not have."""
    yield from _on_postgres(postgres)


def _on_postgres(server: Postgres) -> Iterator[str]:
    url = server.fresh_database(prepared_by=migrate)
    yield url
    server.drop_database(url)


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """A worker's view of the books."""
    opened = Ledger(url)
    yield opened
    opened.close()


@pytest.fixture
def postgres_ledger(postgres_url: str) -> Iterator[Ledger]:
    """A worker's view of the books on PostgreSQL."""
    opened = Ledger(postgres_url)
    yield opened
    opened.close()
