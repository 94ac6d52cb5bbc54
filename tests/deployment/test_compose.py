"""compose.yaml: everything it names is there, every command is one of ours, nothing is unlimited, open or default."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from ops import compose_gateways, compose_secrets
from ops.cli import app as payments
from ops.settings import read_settings
from run_worker import app as run_worker

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if service["image"] == "payment-service")
ONCE = ("migrate", "grants", "topology", "webhooks", "order-service")
UNWATCHED = {*ONCE, "notification-taker", "notification-actors", "mail"}


def test_the_whole_street_is_there() -> None:
    there = {"rabbitmq", "postgres", "migrate", "worker", "ingestor", "stripe", "adyen", "paypal"}
    assert there | {"order-service", "notification-taker", "prometheus", "grafana"} <= SERVICES.keys()
    assert SERVICES["worker"]["deploy"]["replicas"] == 2
    assert SERVICES["rabbitmq"]["image"].startswith("rabbitmq:4")
    assert SERVICES["postgres"]["image"] == "postgres:17"


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_bounded_watched_and_started_again(name: str) -> None:
    service = SERVICES[name]
    assert {"cpus", "memory"} <= service["deploy"]["resources"]["limits"].keys()
    assert service["restart"] == ("on-failure" if name in ONCE else "unless-stopped")
    assert ("healthcheck" in service) == (name not in UNWATCHED)


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_names_is_there(name: str) -> None:
    service = SERVICES[name]
    assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys()
    assert set(service.get("depends_on", ())) <= SERVICES.keys()
    for other, how in service.get("depends_on", {}).items():
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        if how["condition"] == "service_completed_successfully":
            assert other in ONCE
    for volume in service.get("volumes", ()):
        source = volume.split(":")[0]
        assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_to_this_machine_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", ()))


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_do_nothing_they_need_not(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "USER payments" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", OURS)
def test_a_command_is_one_that_the_programs_take(name: str) -> None:
    command = SERVICES[name]["command"]
    match command:
        case ["python", "run_worker.py", *arguments]:
            options = [word for word in arguments if word.startswith("--")]
            shown = CliRunner().invoke(run_worker, [a for a in arguments if a.isalpha()] + ["--help"]).output
            assert all(option in shown for option in options)
        case ["payments", word, *arguments]:
            assert word in get_command(payments).commands  # type: ignore[attr-defined]
            shown = CliRunner().invoke(payments, [word, "--help"]).output
            assert all(option in shown for option in arguments if option.startswith("--"))
        case ["python", "-m", module, "http://ingestor:8080"]:
            assert module == compose_gateways.__name__
        case ["sh", "-c", text]:
            for file in re.findall(r"examples/\w+\.\w+", text):
                assert (ROOT / file).exists()
            assert f"/run/secrets/{SERVICES[name]['secrets'][0]}" in text
        case _:
            assert command[:3] == ["python", "-m", "aiosmtpd"]


def test_no_password_stands_in_the_open() -> None:
    text = (ROOT / "compose.yaml").read_text()
    assert not re.search(r"(?i)password: *[^/{\s]|guest|:[^/\s]+@", text)
    assert all(secret["file"].startswith(".payments-compose/") for secret in COMPOSE["secrets"].values())
    assert "/.payments*/" in (ROOT / ".gitignore").read_text()


def test_every_secret_is_made_and_each_time_another() -> None:
    made, again = compose_secrets.files(), compose_secrets.files()
    handed_over = {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    assert made.keys() - handed_over == {"rabbitmq_admin_password"}, "that one is for a person"
    assert not handed_over - made.keys()
    assert [name for name in made if made[name] == again[name]] == ["rabbitmq.conf"]


@pytest.mark.parametrize("name", ["worker.toml", "ingestor.toml"])
def test_the_settings_it_makes_can_be_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text(compose_secrets.files()[name])
    monkeypatch.setenv("PAYMENTS_CONFIG_FILE", str(tmp_path / name))

    settings = read_settings()

    assert set(settings.gateway_blocks) == {"stripe", "adyen", "paypal"}
    assert (settings.database_url is not None) == (name == "worker.toml")
    assert not settings.serves_sandbox


def test_compose_itself_would_take_the_file() -> None:
    """The schema of compose-spec.io, as check-jsonschema carries it."""
    schema = files("check_jsonschema.builtin_schemas.vendor").joinpath("compose-spec.json").read_text()
    problems = jsonschema.Draft7Validator(json.loads(schema)).iter_errors(COMPOSE)

    assert [f"{problem.json_path}: {problem.message}" for problem in problems] == []
