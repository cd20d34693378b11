"""Outputs: what a step wrote into its run folder, and whether it is still what it wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bonescan_utils import provenance
from bonescan_utils.files import sha256_file


def described(folder: Path, name: str, rows: int | None) -> dict[str, Any]:
    """Return a record of one output: path, rows, bytes, mtime_ns, sha256; a folder's is of its files' names and hashes.

    Args:
        folder: The run folder.
        name: Path of the output in it.
        rows: Rows of a table; None for anything else.
    """
    path = folder / name
    return {"path": name, "rows": rows, "bytes": _size(path), "mtime_ns": _mtime(path), "sha256": _hash(path)}


def outputs_changed(folder: Path, outputs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the paths among a step's recorded outputs that are gone or differ from what it wrote."""
    return [str(output["path"]) for output in outputs if not _same(folder / str(output["path"]), output)]


def begun_path(folder: Path, step: str) -> Path:
    """Return where a step lists the files that it began to write."""
    return folder / "steps" / f"{step}.begun"


def read_begun(folder: Path, step: str) -> list[str]:
    """Return the files that executions of a step began to write since it was last done."""
    path = begun_path(folder, step)
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _same(path: Path, output: Mapping[str, Any]) -> bool:
    if not path.exists() or _size(path) != output["bytes"]:
        return False
    return _mtime(path) == output["mtime_ns"] or _hash(path) == output["sha256"]


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in _files(path))


def _mtime(path: Path) -> int:
    return max((p.stat().st_mtime_ns for p in _files(path)), default=0)


def _hash(path: Path) -> str:
    if path.is_dir():
        return provenance.digest([(p.relative_to(path).as_posix(), sha256_file(p)) for p in _files(path)])
    return sha256_file(path)
