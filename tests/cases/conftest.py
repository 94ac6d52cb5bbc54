"""A house on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.schema import migrate
from ledger.verify import verify
from tests.cases.house import House


@pytest.fixture(params=["sqlite", "postgres"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """One with empty books; whatever the test did, they must prove clean."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("database")
    migrate(url)
    house = House(url)
    yield house
    house.desk.ledger.close()
    assert verify(url).problems == []
