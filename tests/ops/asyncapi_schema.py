"""Where the official JSON Schema of AsyncAPI 3.0 is: fetched once from npm, checked, and kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

PACKAGE = "@asyncapi/specs@6.11.1"
MEMBER = "package/schemas/3.0.0.json"
SHA256 = "d4571a420e6ffb7fcc7066c95a6db1202f299a3c51daa103d0706bf30f95e626"
KEPT = Path(__file__).resolve().parents[2] / ".servers" / "asyncapi-3.0.0.json"
FETCH_TIMEOUT_S = 60


class NoSchema(Exception):
    """The schema is not here and cannot be fetched; the text says how to get it."""


def official_schema() -> dict[str, Any]:
    """Read the schema, fetching it first if need be.

    Raises:
        NoSchema: npm is missing, or cannot reach its registry.
    """
    named = os.environ.get("PAYMENTS_TEST_ASYNCAPI_SCHEMA")
    file = Path(named) if named else KEPT
    if not file.is_file():
        _fetch(file)
    content = file.read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHA256, f"{file} is not {MEMBER} of {PACKAGE}"
    schema: dict[str, Any] = json.loads(content)
    return schema


def _fetch(file: Path) -> None:
    if shutil.which("npm") is None:
        raise NoSchema(f"npm is not here; set PAYMENTS_TEST_ASYNCAPI_SCHEMA to {MEMBER} of {PACKAGE}")
    with tempfile.TemporaryDirectory() as directory:
        try:
            subprocess.run(
                ["npm", "pack", "--silent", PACKAGE],
                cwd=directory,
                check=True,
                capture_output=True,
                timeout=FETCH_TIMEOUT_S,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise NoSchema(f"npm cannot fetch {PACKAGE}: {type(error).__name__}") from None
        (archive,) = Path(directory).glob("*.tgz")
        with tarfile.open(archive) as packed:
            member = packed.extractfile(MEMBER)
            assert member is not None, f"{PACKAGE} has no {MEMBER}"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(member.read())
