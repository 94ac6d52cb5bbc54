"""Logs, configured once: static event names, readable at a terminal, JSON lines elsewhere. No secret gets through."""

from __future__ import annotations

import logging
import re
import sys

import structlog

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


def without_secrets(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Blank out what an exception's own text may have quoted."""
    for name in ("exception", "stack"):
        if name in event:
            event[name] = _SECRETS.sub("***", event[name])
    return event


def _take_in_libraries(shared: list[structlog.typing.Processor], render: structlog.typing.Processor) -> None:
    """Give the libraries' lines the same form. They can carry URLs and bodies: only warnings are let through."""
    meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[meta, render])
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
