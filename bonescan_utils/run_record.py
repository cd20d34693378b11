"""Run record: `run.json`, what a run was made from and what it wrote, checked against its schema on both ways.

The schema is `assets/run.schema.json`. A record is sealed when its run has ended: then it holds the hash of every file
of the run folder, and `inputs.csv` beside it the hash of every scan's file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bonescan_utils.files import read_csv, read_json, safe_text, sha256_file, write_csv, write_json
from bonescan_utils.profiles import NEVER_STALE, StudyConfig, StudyError
from bonescan_utils.seal import read_sealed, write_sealed
from bonescan_utils.whereabouts import read_whereabouts, recorded

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator, ValidationError

RECORD, INPUTS, COHORT = "run.json", "inputs.csv", "cohort.csv"
"""Files of the run folder: the record, the hashes of the scans' files, the scans that were used."""
VERSION = 1
"""Version of the record's form."""
SCHEMA = Path(__file__).parent / "assets" / "run.schema.json"
INPUT_COLUMNS = ("file", "bytes", "sha256")
SHOWN = 3
NO_RESULT = NEVER_STALE | {"profile", "keep_features"}
"""Settings that two runs may differ in and have the same results; whether the manifest is another, its hash tells."""


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a run.

    Raises:
        RuntimeError: It is not as the schema wants it; a fault of this program.
    """
    _require_sound(folder, record)
    write_json(folder / RECORD, record)


def _require_sound(folder: Path, record: Mapping[str, Any]) -> None:
    faults = faults_of(record)
    if faults:
        raise RuntimeError(f"{folder.name}/{RECORD}: {faults}")


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of a run.

    Raises:
        StudyError: There is none, or it cannot be read, or it is not as the schema wants it, or not as it was sealed.
    """
    try:
        record = read_sealed(folder / RECORD, strict=False)
    except FileNotFoundError:
        hint = "give the name of a run in reports, or the path of its folder"
        raise StudyError(f"{folder.name}: no run record ({RECORD}) to go by; {hint}") from None
    except (OSError, ValueError) as error:
        reason = safe_text(error, limit=300)
        raise StudyError(
            f"{folder.name}: no run record to go by: {reason}. Run the study again with the same name"
        ) from None
    faults = faults_of(record)
    if faults:
        raise StudyError(f"{folder.name}/{RECORD}: {faults}. Run the study again with the same name")
    return dict(record)


def faults_of(record: Any) -> str:
    """Return what is wrong with a record, in one line; '' if nothing."""
    plain = json.loads(json.dumps(record, default=str))
    found = sorted(_validator().iter_errors(plain), key=lambda fault: [str(part) for part in fault.absolute_path])
    absent = [name for name in _validator().schema["required"] if isinstance(plain, dict) and name not in plain]
    told = [f"lacks {', '.join(absent)}"] if absent else []
    told += [_told(fault) for fault in found if fault.absolute_path or not absent]
    more = f"; and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    return "; ".join(told[:SHOWN]) + more


def _told(fault: ValidationError) -> str:
    where = "/".join(safe_text(part, limit=40) for part in fault.absolute_path)
    return f"{where or 'record'}: {safe_text(fault.message)}"


@cache
def _validator() -> Draft202012Validator:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(read_json(SCHEMA))


# ------------------------------------------------------------------------------------------ used folders
def require_same_settings(folder: Path, config: StudyConfig) -> None:
    """Check that a run folder is new, or of a run with these settings, which goes on.

    Raises:
        StudyError: It holds results of other settings; the text says which, and what to do.
    """
    if not any((folder / "steps").glob("*.json")):
        return  # nothing in it has come to its end
    try:
        record = read_record(folder)
    except StudyError:
        return  # none to go by: each step tells by its own record whether it is of these settings
    told = list(_other_settings(record, config, read_whereabouts(folder).get("manifest")))
    if told:
        more = f"; and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
        raise StudyError(
            f"{folder.name}: this folder holds a run with other settings ({'; '.join(told[:SHOWN])}{more}). Choose a"
            " new one with --run NAME, or say --replace: what they change is made again in it, the rest is kept"
        )


def _other_settings(record: Mapping[str, Any], config: StudyConfig, manifest: Path | None) -> Iterator[str]:
    """Give a line for each setting of a recorded run that is another now.

    Args:
        record: The run's record.
        config: The settings now.
        manifest: Where the run's manifest was; None where that is not known here.
    """
    was, now = record["config"], recorded(config.model_dump(mode="json"))
    for name in (name for name in now if name in was and name not in NO_RESULT and now[name] != was[name]):
        yield f"{name}: was {safe_text(was[name], limit=60) or 'none'}, now {safe_text(now[name], limit=60) or 'none'}"
    elsewhere = was["manifest"] != now["manifest"] or (manifest and manifest != config.manifest.resolve())
    if elsewhere and record["manifest"]["sha256"] != sha256_file(config.manifest):
        yield "the manifest is another file"


# ------------------------------------------------------------------------------------------ hashes
def seal_record(folder: Path, record: dict[str, Any], *, root: Path) -> None:
    """Hash all that a run read and wrote, and write its record with the hashes, sealed.

    Args:
        folder: The run folder, with all its files written.
        record: The run's record; `files` is added to it.
        root: The folder that the paths of the cohort are relative to: that of the manifest.
    """
    _write_inputs(folder, root)
    record["files"] = hash_files(folder)
    _require_sound(folder, record)
    write_sealed(folder / RECORD, record)


def hash_files(folder: Path) -> dict[str, dict[str, Any]]:
    """Return bytes and sha256 of each file of a run folder, by its path, but for hidden files and the record."""
    return {
        name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)} for name, path in sorted(_run_files(folder))
    }


def _run_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(where, name)
            if not name.startswith(".") and path != folder / RECORD and path.is_file():
                yield path.relative_to(folder).as_posix(), path


def _write_inputs(folder: Path, root: Path) -> None:
    """Write bytes and sha256 of the file of every scan that was used."""
    import pandas as pd

    if not (folder / COHORT).is_file():
        return
    cohort = read_csv(folder / COHORT)
    names = sorted({str(name) for column in ("anterior", "posterior") for name in cohort.get(column, ()) if name})
    paths = [(name, root / name) for name in names]
    rows = [(name, path.stat().st_size, sha256_file(path)) for name, path in paths if path.is_file()]
    write_csv(folder / INPUTS, pd.DataFrame(rows, columns=pd.Index(INPUT_COLUMNS)))


def read_inputs(folder: Path) -> list[dict[str, Any]]:
    """Return file, bytes and sha256 of the scans' files as they were read; empty where none is on record."""
    path = folder / INPUTS
    if not path.is_file():
        return []
    return [
        {str(key): value for key, value in row.items()} for row in read_csv(path, text=("file",)).to_dict("records")
    ]


def recorded_sha256(folder: Path, name: str) -> str:
    """Return the sha256 that a run has on record of a file it wrote; '' where it has none.

    It stands in `run.json`; where notebooks were executed by hand, in the record of the step that wrote it last.

    Args:
        folder: The run folder.
        name: The file's path in it.

    Raises:
        StudyError: The record cannot be used.
    """
    if not (folder / RECORD).is_file():
        steps = [read_json(path) for path in (folder / "steps").glob("*.json")]
        return _of_steps(sorted(steps, key=lambda step: str(step.get("finished", ""))), name)
    record = read_record(folder)
    entry = record.get("files", {}).get(name)
    return str(entry["sha256"]) if entry else _of_steps(record["steps"], name)


def _of_steps(steps: Iterable[Mapping[str, Any]], name: str) -> str:
    """Return the sha256 of the last step that lists a file among its outputs; '' if none does."""
    found = [str(out["sha256"]) for step in steps for out in step.get("outputs", []) if out["path"] == name]
    return found[-1] if found else ""
