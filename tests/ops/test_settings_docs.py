"""docs/settings.md: every setting with its name, default and meaning, and nothing that is no setting."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ops.settings import RouteSettings, Settings, read_settings

PAGE = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(PAYMENTS_\w+)` \| (.+?) \| (.+) \|$", re.MULTILINE)

NO_DEFAULT = "no default"

NEEDED = {
    "adyen": {"api_key": "AQE_1", "merchant_account": "ShopECOM"},
    "paypal": {"client_id": "client-1", "client_secret": "secret-1"},
    "stripe": {"api_key": "sk_test_1"},
}
"""What the block of a gateway cannot be without, once it is there."""


def settings_in_code() -> dict[str, Any]:
    """Environment name to default."""
    return dict(_below("PAYMENTS_", Settings))


def _below(prefix: str, block: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    for name, field in block.model_fields.items():
        inner = _block_of(field)
        if inner is not None:
            yield from _below(f"{prefix}{name.upper()}__", inner)
        else:
            yield f"{prefix}{name.upper()}", NO_DEFAULT if field.is_required() else field.default


def _block_of(field: FieldInfo) -> type[BaseModel] | None:
    if get_origin(field.annotation) is tuple:  # a list of tables is one setting
        return None
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def settings_on_the_page() -> dict[str, tuple[str, str]]:
    """Environment name to the page's default and meaning."""
    return {name: (default, meaning) for name, default, meaning in ROW.findall(PAGE)}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith("PAYMENTS_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_every_setting_is_on_the_page_once_and_nothing_else_is() -> None:
    names = [name for name, _, _ in ROW.findall(PAGE)]

    assert sorted(names) == sorted(settings_in_code())


@pytest.mark.parametrize("name", settings_in_code())
def test_the_page_gives_the_default_the_code_has(name: str) -> None:
    default = settings_in_code()[name]
    shown, _ = settings_on_the_page()[name]

    if default == NO_DEFAULT:
        assert shown.startswith("required")
    elif default is None:
        assert shown.startswith("none")
    else:
        plain = list(default) if isinstance(default, tuple) else default
        written = str(plain) if isinstance(plain, str | Path) else json.dumps(plain)
        assert shown == f"`{written}`"


@pytest.mark.parametrize("name", settings_in_code())
def test_every_meaning_is_a_sentence(name: str) -> None:
    _, meaning = settings_on_the_page()[name]

    assert meaning.endswith(".")
    assert len(meaning) > len("Something.")


def test_the_defaults_can_be_set_as_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read_settings(**NEEDED)
    for block, fields in NEEDED.items():
        for field, value in fields.items():
            monkeypatch.setenv(f"PAYMENTS_{block}__{field}".upper(), value)
    for name, (shown, _) in settings_on_the_page().items():
        written = re.fullmatch(r"`(.+)`", shown)
        if written is not None:
            monkeypatch.setenv(name, written[1])

    assert read_settings() == expected


def test_every_field_of_a_route_is_on_the_page_once_and_nothing_else_is() -> None:
    (table,) = re.findall(r"^\| field \| meaning \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    names = re.findall(r"^\| `(\w+)` \| .+\. \|$", table, re.MULTILINE)

    assert names == list(RouteSettings.model_fields)


def test_the_example_files_on_the_page_are_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    example = "\n".join(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
    (tmp_path / "payments.toml").write_text(example)

    settings = read_settings()

    assert settings.default_gateway == tomllib.loads(example)["default_gateway"]
    assert len(settings.broker_urls) == 2
    assert settings.stripe is not None
    assert settings.sandbox.enabled is False
    assert [dict(route.gateways) for route in settings.routes] == [
        {"adyen": 80, "stripe": 20},
        {"stripe": 1, "adyen": 0},
    ]
