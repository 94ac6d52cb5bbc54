"""Logs, configured once: static event names, readable at a terminal, JSON lines elsewhere.

No secret and no card number gets through, not in a traceback that ends the process either.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from types import TracebackType

import structlog

from messages.card_data import redacted, redacted_value
from ops.settings import LogSettings

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_SECRETS = re.compile(
    r"(?<=input_value=).*?(?=,\s*input_type=)"  # pydantic quotes what it was given: perhaps a whole command
    r"|(?<=://)[^\s/@]+(?=@)"  # user and password in a URL
    r"|\b(?:sk|rk|pk|whsec)_\w+"  # Stripe's keys
    r"|\b\w+_secret_\w+",  # client secrets of payment intents
    re.DOTALL,
)


def configure_logs(settings: LogSettings) -> None:
    """Send every line to standard error, so that standard output is for results alone."""
    as_json = settings.json_lines if settings.json_lines is not None else not sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        # As text, and without the values of variables: those hold commands, and commands hold tokens.
        structlog.processors.format_exc_info,
        without_secrets,
        without_card_data,
    ]
    render: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[settings.level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    _take_in_libraries(shared, render)
    sys.excepthook = _tell_what_ends_us
    threading.excepthook = _tell_what_ends_a_thread


def without_secrets(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Blank out what an exception's own text may have quoted."""
    for name in ("exception", "stack"):
        if name in event:
            event[name] = _SECRETS.sub("***", event[name])
    return event


def without_card_data(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Blank out card data in every name and value, whatever it is nested in."""
    return {
        name if name.startswith("_") else redacted(name): value
        if name.startswith("_")
        else _plain(name, value)
        for name, value in event.items()
    }


def _plain(name: str, value: object) -> object:
    match value:
        case str():
            return redacted(value, name=name)
        case bool() | float() | None:
            return value
        case int() | bytes() | dict() | list() | tuple():
            return redacted_value(value, name=name)
        case _:  # an exception, a path: as it will be written
            written = str(value)
            found = redacted(written, name=name)
            return value if found is written else found


def _tell_what_ends_us(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Log what nobody has caught: Python itself would print it as it is."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        structlog.get_logger().critical("process_failed", exc_info=(kind, error, trace))


def _tell_what_ends_a_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value is not None:
        structlog.get_logger().critical(
            "thread_failed", exc_info=(ended.exc_type, ended.exc_value, ended.exc_traceback)
        )


def _take_in_libraries(shared: list[structlog.typing.Processor], render: structlog.typing.Processor) -> None:
    """Give the libraries' lines the same form. They can carry URLs and bodies: only warnings are let through."""
    meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[meta, render])
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
