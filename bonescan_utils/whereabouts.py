"""Whereabouts: where a run's scans lie on this machine, kept beside the run folder; what is in it names no folder.

A run folder is made to be handed on. The names of folders may name patients or users, so paths of this machine are
taken out of what a run writes, and those that are needed again stand in a hidden file that stays behind.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bonescan_utils.files import read_json, write_json

PATHS = {"boxes": "<boxes>", "weights_dir": "<weights>", "manifest": "<data>"}
"""Settings that are paths outside of the run, recorded by the name of the file or folder -> what messages say for the
folder that it lies in."""


_BEFORE, _AFTER = r"(^|[^A-Za-z0-9+/]|://|\x1b\[[0-9;]*m)", r"(?![A-Za-z0-9_-])"


def whereabouts_file(run_dir: Path) -> Path:
    """Return the hidden file beside a run folder."""
    return run_dir.with_name(f".{run_dir.name}.whereabouts.json")


def write_whereabouts(run_dir: Path, settings: Mapping[str, Any]) -> None:
    """Keep where the files and folders of `PATHS` are that are set, relative to the run folder."""
    set_ones = {name: Path(str(settings[name])) for name in PATHS if str(settings.get(name, ""))}
    write_json(whereabouts_file(run_dir), {name: relative(path, run_dir) for name, path in set_ones.items()})


def read_whereabouts(run_dir: Path) -> dict[str, Path]:
    """Return where the files and folders of `PATHS` are that were set; empty where nothing is known of it here."""
    try:
        found = read_json(whereabouts_file(run_dir))
    except (OSError, ValueError):
        return {}
    kept = found.items() if isinstance(found, dict) else ()
    return {name: (run_dir / str(path)).resolve() for name, path in kept if name in PATHS}


def relative(path: Path, start: Path) -> str:
    """Return a path relative to a folder; whole where there is no such path (another drive)."""
    path = path.expanduser().resolve()
    try:
        return Path(os.path.relpath(path, start.resolve())).as_posix()
    except ValueError:
        return path.as_posix()


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


def machine_folders(*, project: Path, run_dir: Path, given: Mapping[str, Any]) -> dict[str, str]:
    """Return the folders of this machine that may show in messages, and what to write in their place.

    Args:
        project: Folder of the notebooks' folder.
        run_dir: Folder of the run.
        given: Parameters of a notebook; those of `PATHS` are relative to the notebooks' folder, or whole.
    """
    found = {str(Path.home()): "~", sys.prefix: "<python>", sys.base_prefix: "<python>", str(project): "<project>"}
    known = read_whereabouts(run_dir)
    found |= {str(known[name].parent): shown for name, shown in PATHS.items() if name in known}
    texts = {name: str(given[name]) for name in PATHS if given.get(name)}
    return found | {text: Path(text).name for text in texts.values() if Path(text).parent != Path("..")}
