"""Provenance: what a run was made from - code, packages, machine, inputs - as hashes and plain text.

Nothing here imports a package to ask its version, and nothing names the user or a folder of this machine.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bonescan_utils.files import sha256_file

PACKAGES = (
    "tensorflow keras tf-keras-vis numpy scipy scikit-learn pandas statsmodels pauc tableone pydicom"
    " python-gdcm pyjpegls pillow matplotlib seaborn papermill nbclient nbconvert ipykernel joblib pandera"
    " pydantic"
).split()
"""Distributions whose versions a run records."""

DECISIVE = "tensorflow keras numpy scipy scikit-learn pandas pydicom python-gdcm pauc matplotlib".split()
"""Of these, a new version means that results are computed again."""

NOT_STUDIED = frozenset(
    f"{name}.py"
    for name in "cli doctor predict results finding run_model runner leaks report execution steps screen lock"
    " profiles run_record verification verify rerun crate archive".split()
)
"""Modules of the package that no notebook runs: a change in them does not make a result stale."""


def digest(value: Any) -> str:
    """Return a SHA-256 of a value made of plain JSON types, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def code_hash(package: Path | None = None, *, without: frozenset[str] = frozenset()) -> str:
    """Return a hash of the code and assets that notebooks run.

    Args:
        package: Folder of the package; this one if None.
        without: Names of further files to leave out.
    """
    package = package or Path(__file__).parent
    suffixes, left_out = {".py", ".npz", ".mplstyle"}, NOT_STUDIED | without
    files = sorted(path for path in package.rglob("*") if path.suffix in suffixes and path.name not in left_out)
    return digest([(path.relative_to(package).as_posix(), sha256_file(path)) for path in files])


def notebook_hash(path: Path) -> str:
    """Return a hash of the cells of a notebook; outputs, counts and metadata do not matter."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return digest([(cell["cell_type"], "".join(cell["source"])) for cell in cells])


def files_state(paths: Iterable[Path]) -> str:
    """Return a hash of the names, sizes and times of files, present or not: fast also for 10,000 scans."""
    state = []
    for path in sorted(set(paths)):
        try:
            found = path.stat()
            state.append((path.name, found.st_size, found.st_mtime_ns))
        except OSError:
            state.append((path.name, -1, -1))
    return digest(state)


def versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of installed distributions; '' for one that is not installed."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def git_revision(folder: Path) -> dict[str, Any]:
    """Return the git revision of a folder and whether its files differ from it; empty outside of git."""

    def ask(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    revision = ask("rev-parse", "HEAD")
    return {"revision": revision, "modified": bool(ask("status", "--porcelain"))} if revision else {}


def hardware() -> dict[str, Any]:
    """Return the processor, cores and memory of this machine."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": processor_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_bytes": memory_bytes(),
    }


def processor_name() -> str:
    """Return the processor's name, or its architecture where the system does not tell."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def memory_bytes() -> int:
    """Return the machine's memory in bytes; 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def onednn() -> dict[str, Any]:
    """Return whether TensorFlow is asked to use oneDNN, and, where it is loaded, whether it does.

    oneDNN adds in another order than plain TensorFlow, so scores differ in the last digits between the two.
    """
    state: dict[str, Any] = {"setting": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default")}
    if "tensorflow" in sys.modules:
        from tensorflow.python.util import _pywrap_util_port

        state["in_use"] = bool(_pywrap_util_port.IsMklEnabled())
    return state


def environment(folder: Path) -> dict[str, Any]:
    """Return what a run record says of the code, the packages and the machine.

    Args:
        folder: A folder of the project, to find its git revision.
    """
    return {
        "versions": versions(),
        "git": git_revision(folder),
        "code_sha256": code_hash(),
        "hardware": hardware(),
        "onednn": onednn(),
        "flags": {
            name: os.environ[name] for name in ("TF_ENABLE_ONEDNN_OPTS", "CUDA_VISIBLE_DEVICES") if name in os.environ
        },
        "platform": sys.platform,
    }


def now() -> str:
    """Return the present time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return the keys in which two fingerprints differ."""
    return [key for key in new if old.get(key) != new[key]]
