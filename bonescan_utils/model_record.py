"""Model record: the `.json` beside a saved model, with the model's sha256 and what it is. No TensorFlow.

A model is a program: only a `.keras` archive is taken, only if its bytes are those on record, and only if it is made of
Keras's own parts; all that is checked before Keras opens it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bonescan_utils.files import read_json, safe_text, sha256_file

MEMBERS = frozenset({"metadata.json", "config.json", "model.weights.h5"})
"""What a `.keras` archive holds."""
MAX_CONFIG_BYTES = 64 << 20
CODE_CLASSES = frozenset({"Lambda", "__lambda__", "function", "TFSMLayer"})
"""Parts of Keras that carry or call code of the file."""


class ModelError(ValueError):
    """A model file that is missing, damaged, not what its record says, or foreign; one readable line."""


def model_record(path: Path | str) -> dict[str, Any]:
    """What a saved model is, after checking that its file is the one that was saved.

    Raises:
        ModelError: model or record is missing, the file is no `.keras`, or it was changed since.
    """
    path = Path(path)
    if path.suffix != ".keras":
        raise ModelError(f"{safe_text(path)}: not a trusted model; expected a .keras file with its .json beside it")
    record = path.with_suffix(".json")
    for needed in (path, record):
        if not needed.is_file():
            raise ModelError(f"{needed}: not found; a model is a .keras file and the .json beside it")
    about = _read(record)
    expected, found = about.get("sha256"), sha256_file(path)
    if found != expected:
        raise ModelError(f"{path}: sha256 {found}, its record says {expected}; damaged, train the arm again")
    return about


def _read(record: Path) -> dict[str, Any]:
    """The record beside a model; empty where it is no mapping."""
    try:
        about = read_json(record)
    except ValueError as error:
        raise ModelError(safe_text(error, limit=300)) from error
    return about if isinstance(about, dict) else {}


def check_archive(path: Path) -> None:
    """Checks that a `.keras` file is an archive of a model made of Keras's own parts, without code of its own.

    Keras's safe mode refuses code too, and was got round more than once; this looks before Keras does.

    Raises:
        ModelError: it is no such archive; the text says what was found.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = {member.filename: member.file_size for member in archive.infolist()}
            if set(names) != MEMBERS or len(archive.infolist()) != len(MEMBERS):
                raise ModelError(_refused(path, f"it holds {', '.join(map(safe_text, sorted(names)[:5]))}"))
            if names["config.json"] > MAX_CONFIG_BYTES:
                raise ModelError(_refused(path, f"its config.json has {names['config.json']:,} bytes"))
            config = json.loads(archive.read("config.json"))
    except (
        OSError,
        EOFError,
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        ValueError,
        RecursionError,
    ) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(_refused(path, f"no whole archive: {safe_text(error)}")) from error
    for part in _parts(config):
        module, name = str(part.get("module") or "keras"), str(part["class_name"])
        if name in CODE_CLASSES or module.partition(".")[0] != "keras":
            raise ModelError(_refused(path, f"its part {safe_text(f'{module}.{name}')} may run code of the file"))


def _refused(path: Path, why: str) -> str:
    return f"{path}: not a trusted model; {why}. Expected a .keras file that this package saved"


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Gives all mappings with a `class_name` in a model's config, however deep."""
    due = [config]
    while due:
        item = due.pop()
        if isinstance(item, dict):
            due.extend(item.values())
            if "class_name" in item:
                yield item
        elif isinstance(item, list):
            due.extend(item)
