"""Operators are who they say they are: four eyes are worth what their logins are worth."""

from __future__ import annotations


def is_same_person(one: str, other: str) -> bool:
    """Whether two names are one person's, however they are written."""
    return _plain(one) == _plain(other)


def _plain(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())
