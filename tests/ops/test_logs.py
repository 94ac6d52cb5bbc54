"""The log as it leaves a process: on standard error, readable by people or programs, and without secrets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

CONFIGURED = """
import logging, structlog
from ops.logs import configure_logs
from ops.settings import LogSettings
configure_logs(LogSettings(level={level!r}, json_lines={as_json}))
log = structlog.get_logger()
"""


def run(program: str, *, as_json: bool = True, level: str = "info") -> subprocess.CompletedProcess[str]:
    """Run a program whose log is configured."""
    source = CONFIGURED.format(level=level, as_json=as_json) + program
    return subprocess.run(
        [sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )


def lines(program: str, **how: Any) -> list[dict[str, Any]]:
    """The lines a program logs, read as a program reads them."""
    return [json.loads(line) for line in run(program, **how).stderr.splitlines()]


def test_a_line_is_one_json_object_with_its_event_level_and_time() -> None:
    (line,) = lines("log.info('worker_started', gateways=['sandbox'])")

    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "worker_started", "level": "info", "gateways": ["sandbox"]}


CARD = "4111 1111 1111 1111"


SAID = [
    f"log.info('x', note='card {CARD}')",
    f"log.info('card {CARD}')",
    "log.info('x', number=4111111111111111)",
    f"log.info('x', about={{'a': [{{'b': '{CARD}'}}]}})",
    f"log.info('x', **{{'{CARD}': 1}})",
    f"log.info('x', error=ValueError('{CARD}'))",
    f"logging.getLogger('uvicorn.error').error('card %s', '{CARD}')",
    f"try: raise ValueError('{CARD}')\nexcept ValueError: log.exception('x')",
    f"try: raise ValueError('{CARD}')\nexcept ValueError: logging.getLogger('kombu').exception('x')",
    f"import threading; t = threading.Thread(target=lambda: int('{CARD}!')); t.start(); t.join()",
    "log.info('x', cvv='4111')",
    "log.info('x', data='{\"cvc\": \"4111\"}')",
]


@pytest.mark.parametrize("as_json", [True, False])
def test_no_card_number_reaches_the_log(as_json: bool) -> None:
    told = run("\n".join(SAID), as_json=as_json).stderr

    assert told.count("[redacted") >= len(SAID)
    assert "4111" not in told


def test_a_card_number_in_what_ends_the_process_is_not_printed() -> None:
    program = CONFIGURED.format(level="info", as_json=True) + f"raise ValueError('{CARD}')"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert ended.returncode == 1
    assert "process_failed" in ended.stderr
    assert "4111" not in ended.stderr


def test_nothing_is_written_to_standard_output() -> None:
    ended = run("log.error('x'); logging.getLogger('kombu').error('y')")

    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 2


def test_what_is_below_the_level_is_left_out() -> None:
    program = "log.debug('a'); log.info('b'); log.warning('c'); log.error('d')"

    assert [line["event"] for line in lines(program, level="warning")] == ["c", "d"]


def test_people_get_lines_for_people() -> None:
    shown = run("log.info('worker_started', gateways=['sandbox'])", as_json=False).stderr

    assert "worker_started" in shown
    assert not shown.startswith("{")


def test_warnings_of_libraries_have_the_same_form_and_their_chatter_is_left_out() -> None:
    (line,) = lines(
        "logging.getLogger('httpx').info('GET x'); logging.getLogger('kombu').warning('lost %s', 1)"
    )

    assert (line["event"], line["level"]) == ("lost 1", "warning")


FAILING = """
def fail(command):
    token = "pm_local_secret"
    from messages.commands import PaymentRequested
    PaymentRequested.model_validate_json(command)
try:
    fail('{"payment_method": {"token": "pm_quoted_secret"}, "token": "tok_other_secret"}')
except Exception as error:
    log.error("work_failed", exc_info=error)
"""


def test_an_exception_is_logged_with_its_place_and_without_the_values_it_met() -> None:
    (line,) = lines(FAILING)

    assert "in fail" in line["exception"]
    assert "Field required" in line["exception"]
    assert "secret" not in json.dumps(line)


def test_for_people_too_an_exception_is_logged_without_the_values_it_met() -> None:
    shown = run(FAILING, as_json=False).stderr

    assert "Field required" in shown
    assert "secret" not in shown


def test_an_exception_that_quotes_a_url_or_a_key_is_logged_without_them() -> None:
    program = """
try:
    raise OSError("amqp://user:geheim@host/ sk_test_geheim pi_1_secret_geheim whsec_geheim")
except OSError:
    log.exception("failed")
    logging.getLogger("kombu").exception("failed there")
"""
    ours, theirs = lines(program)

    for line in (ours, theirs):
        assert "geheim" not in json.dumps(line)
        assert "amqp://***@host/" in line["exception"]
