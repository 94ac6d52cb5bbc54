"""Writes docs/messages: a JSON Schema for each message and one AsyncAPI document, from the classes.

python -m ops.message_docs            write them
python -m ops.message_docs --check    write nothing; exit 1 and name what differs
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ops.message_asyncapi import asyncapi
from ops.message_schemas import message_schemas

HOME = Path(__file__).parent.parent / "docs" / "messages"


def documents() -> dict[str, str]:
    """Make the text of every file by its name; the same code gives the same text."""
    texts = {f"{name}.json": _written(schema) for name, schema in message_schemas().items()}
    texts["asyncapi.json"] = _written(asyncapi())
    return texts


def differences(home: Path) -> list[str]:
    """Say in one line each what in a directory is not as the classes would have it."""
    wanted = documents()
    present = {file.name: file.read_text(encoding="utf-8") for file in home.glob("*.json")}
    missing = [f"{name} is missing" for name in wanted.keys() - present.keys()]
    strange = [f"{name} belongs to no message" for name in present.keys() - wanted.keys()]
    changed = [f"{name} differs" for name in wanted.keys() & present.keys() if wanted[name] != present[name]]
    return sorted(missing + strange + changed)


def write(home: Path) -> None:
    """Make a directory's JSON files what the classes would have them; others are left alone."""
    home.mkdir(parents=True, exist_ok=True)
    wanted = documents()
    for file in home.glob("*.json"):
        if file.name not in wanted:
            file.unlink()
    for name, text in wanted.items():
        (home / name).write_text(text, encoding="utf-8")


def main(
    home: Annotated[Path, typer.Argument(help="The directory.")] = HOME,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if anything differs.")
    ] = False,
) -> None:
    """Write the message contract, or check that what is there is up to date."""
    if not check:
        write(home)
        return
    found = differences(home)
    for line in found:
        print(f"{home}: {line}", file=sys.stderr)
    if found:
        print("run: python -m ops.message_docs", file=sys.stderr)
        raise typer.Exit(1)


def _written(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    typer.run(main)
