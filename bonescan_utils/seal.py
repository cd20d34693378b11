"""Seal: JSON records with a hash of what they say, so that a flipped digit is not taken for a fact."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bonescan_utils.files import plain, read_json, write_json

SEAL = "seal"


def write_sealed(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON with its seal, atomically; an earlier seal in it is replaced."""
    said = {key: value for key, value in plain(dict(record)).items() if key != SEAL}
    write_json(path, said | {SEAL: _seal(said)})


def read_sealed(path: Path, *, strict: bool = True) -> dict[str, Any]:
    """Read a sealed record; return it without the seal.

    Args:
        path: The file.
        strict: Refuse a record that never had a seal too.

    Raises:
        OSError: There is none.
        ValueError: It is no JSON object, or is not what was sealed.
    """
    record = read_json(path)
    if not isinstance(record, dict) or (strict and SEAL not in record):
        raise ValueError(f"{path.name}: no sealed record; it is damaged or of another version")
    said = {key: value for key, value in record.items() if key != SEAL}
    if record.get(SEAL, _seal(said)) != _seal(said):
        raise ValueError(f"{path.name}: the record is not what was sealed; it is damaged")
    return said


def _seal(said: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
