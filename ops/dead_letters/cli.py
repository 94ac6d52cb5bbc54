"""`payments dead-letters`: what an operator does with messages nobody could act on."""

from ops.dead_letters import cli_changing, cli_editing, cli_looking, cli_sending
from ops.dead_letters.office import app

__all__ = ["app", "cli_changing", "cli_editing", "cli_looking", "cli_sending"]
