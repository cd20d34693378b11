"""Whereabouts: where a run's scans lie on this machine, kept beside the run folder; what is in it names no folder.

A run folder is made to be handed on. The names of folders may name patients or users, so paths of this machine are
taken out of what a run writes, and the one path that notebooks need stands in a hidden file that stays behind.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bonescan_utils.files import read_json, write_json

PATHS = ("manifest", "weights_dir")
"""Settings that are paths outside of the run; they are recorded by the name of the file or folder."""


_BEFORE, _AFTER = r"(^|[^A-Za-z0-9+/]|://|\x1b\[[0-9;]*m)", r"(?![A-Za-z0-9_-])"


def whereabouts_file(run_dir: Path) -> Path:
    """Return the hidden file beside a run folder."""
    return run_dir.with_name(f".{run_dir.name}.whereabouts.json")


def write_data_root(run_dir: Path, manifest: str | Path) -> None:
    """Keep where the scans of a run are: the folder of its manifest, relative to the run folder."""
    root = Path(manifest).expanduser().resolve().parent
    write_json(whereabouts_file(run_dir), {"data_root": os.path.relpath(root, run_dir.resolve())})


def read_data_root(run_dir: Path) -> Path | None:
    """Return the folder that the paths of a run's cohort are relative to; None where it is not known."""
    path = whereabouts_file(run_dir)
    return (run_dir / str(read_json(path)["data_root"])).resolve() if path.exists() else None


def recorded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as a record may hold them: of a path, the last part."""
    return {name: Path(str(value)).name if name in PATHS else value for name, value in settings.items()}


def recorded_command(arguments: Iterable[str]) -> str:
    """Return a command line as a record may hold it: of each path, the last part."""
    return " ".join(["bonescan", *map(_last_part, arguments)])


def _last_part(argument: str) -> str:
    name, equals, value = argument.partition("=")
    where = value if equals else name
    last = where if "://" in where else where.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return f"{name}={last}" if equals else last


def without_folders(value: Any, folders: Mapping[str, str]) -> Any:
    """Return text with folders of this machine replaced, the longest first; in lists and mappings, in all texts.

    A folder counts where a path can begin: not within a word, nor within the base64 text of a picture.

    Args:
        value: Text, or a document of plain JSON types, which is changed in place.
        folders: Path of a folder -> what stands in its place.
    """
    if isinstance(value, str):
        for folder in sorted((name for name in folders if len(name) > 1), key=len, reverse=True):
            if folder in value:
                value = re.sub(_BEFORE + re.escape(folder) + _AFTER, rf"\g<1>{folders[folder]}", value)
    elif isinstance(value, list):
        value[:] = [without_folders(item, folders) for item in value]
    elif isinstance(value, dict):
        value.update({name: without_folders(item, folders) for name, item in value.items()})
    return value


def machine_folders(*, project: Path, data_root: Path | None = None) -> dict[str, str]:
    """Return the folders of this machine that may show in messages, and what to write in their place."""
    found = {str(Path.home()): "~", sys.prefix: "<python>", sys.base_prefix: "<python>", str(project): "<project>"}
    return found | ({str(data_root): "<data>"} if data_root else {})
