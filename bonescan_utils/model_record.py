"""Model record: the `.json` beside a saved model, with the model's sha256 and what it is. No TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bonescan_utils.files import read_json, sha256_file


class ModelError(ValueError):
    """A model file that is missing, damaged or not what its record says; one readable line."""


def model_record(path: Path | str) -> dict[str, Any]:
    """What a saved model is, after checking that its file is the one that was saved.

    Raises:
        ModelError: model or record is missing, or the file was changed since.
    """
    path = Path(path)
    record = path.with_suffix(".json")
    for needed in (path, record):
        if not needed.is_file():
            raise ModelError(f"{needed}: not found; a model is a .keras file and the .json beside it")
    about = read_json(record)
    expected = about.get("sha256") if isinstance(about, dict) else None
    found = sha256_file(path)
    if found != expected:
        raise ModelError(f"{path}: sha256 {found}, its record says {expected}; damaged, train the arm again")
    return about
