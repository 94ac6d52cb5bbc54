"""Migrated books on each database: a copy of a template for every test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ledger.ledger import Ledger
from ledger.schema import migrate
from tests.ledger.books import Books


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def books(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Books]:
    """Migrated, empty books of the test's own, on either database."""
    if request.param == "sqlite":
        path = tmp_path / "ledger.db"
        shutil.copy(request.getfixturevalue("_sqlite_template"), path)
        yield Books(f"sqlite:///{path}")
        return
    server = request.getfixturevalue("postgres")
    url = server.fresh_database(prepared_by=migrate)
    yield Books(url)
    server.drop_database(url)


@pytest.fixture
def ledger(books: Books) -> Iterator[Ledger]:
    """A ledger on the books."""
    with closing(Ledger(books.url)) as opened:
        yield opened


@pytest.fixture
def other(books: Books) -> Iterator[Ledger]:
    """Another worker's ledger on the same books."""
    with closing(Ledger(books.url)) as opened:
        yield opened
