"""Kills: the smallest study that has all five notebooks, killed at random moments and repeated until it ends.

`python tests/crash.py --kills 50` prints what was seen; `test_crash.py` asserts it. One round is one run folder: its
command is killed after a time drawn at random and repeated, until it ends by itself. Rounds follow until all kills
are spent.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from bonescan_utils.files import read_text_csv, sha256_file, write_csv

ROOT = Path(__file__).parents[1]
SCANS = (("train", 6), ("tuning", 3), ("test", 3))
"""Partition, scans of each label."""
SETTINGS = (
    "n_scans=0 image_height=64 image_width=32 copies=1 epochs=2 arms=vgg16 weights=random n_boot=100 n_robustness=0"
    " n_sanity=0 methods=gradcam n_examples=1 n_jobs=1 keep_features=true"
).split()
NAMES = ("predictions.csv", "tables/metrics.csv", "tables/localisation.csv", "cohort.csv")
"""Files that must be, byte by byte, those of an uninterrupted run."""
STARTED = "---- started\n"
"""Line of a log that tells one attempt from the next."""


@dataclass
class Seen:
    """What a series of kills showed."""

    kills: int = 0
    rounds: int = 0
    starts: int = 0
    faults: list[str] = field(default_factory=list)
    killed_in: dict[str, int] = field(default_factory=dict)
    orphans_left: int = 0
    seconds: float = 0.0


def make_project(folder: Path) -> Path:
    """Copies the notebooks and writes a manifest of a few phantoms; their files are made by the first run."""
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".*"))
    df = read_text_csv(ROOT / "data_manifest.csv")
    chosen = [
        df[(df["partition"] == name) & (df["metastasis"] == label)].head(n) for name, n in SCANS for label in "01"
    ]
    rows = sorted(at for part in chosen for at in part.index)
    write_csv(folder / "data_manifest.csv", df.loc[rows])
    return folder


def start(project: Path, name: str) -> subprocess.Popen[bytes]:
    """Starts a run as a process group of its own; what it says is added to `<name>.log`."""
    settings = [part for text in SETTINGS for part in ("-p", text)]
    command = [sys.executable, "-m", "bonescan_utils.cli", "run", "--profile", "quick", "--run", name, *settings]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    with (project / f"{name}.log").open("ab") as log:
        log.write(STARTED.encode())
        log.flush()
        return subprocess.Popen(command, cwd=project, env=env, stdout=log, stderr=log, start_new_session=True)


def descendants(pid: int) -> list[int]:
    """Returns all processes below a process: the kernel has a session, and so a group, of its own."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [int(child) for task in tasks for child in (task / "children").read_text().split()]
    except OSError:
        return []
    return [*children, *(below for child in children for below in descendants(child))]


def kill(process: subprocess.Popen[bytes], *, all_of_it: bool) -> list[int]:
    """Kills the run's group, and what it started too or leaves that to end by itself; returns what was started."""
    below = descendants(process.pid)
    os.killpg(process.pid, signal.SIGKILL)
    for pid in below if all_of_it else []:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()
    return below


def still_running(pids: list[int], *, within_s: float = 20.0) -> list[int]:
    """Waits for processes to end; returns those that do not."""
    until = time.monotonic() + within_s
    while pids and time.monotonic() < until:
        pids = [pid for pid in pids if Path(f"/proc/{pid}").exists() and "\nState:\tZ" not in _status(pid)]
        time.sleep(0.1)
    return pids


def _status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "\nState:\tZ"


def half_files(folder: Path) -> list[str]:
    """Returns the files of a folder, temporaries aside, that cannot be read whole."""
    readers = {".json": lambda path: json.loads(path.read_text()), ".csv": read_text_csv, ".png": _load_png,
               ".npy": lambda path: np.load(path, mmap_mode="r", allow_pickle=False), ".npz": _load_npz,
               ".ipynb": lambda path: json.loads(path.read_text())}  # fmt: skip
    found = []
    for path in (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        try:
            readers.get(path.suffix, Path.read_bytes)(path)
        except Exception as error:
            found.append(f"{path.relative_to(folder)}: {type(error).__name__}")
    return found


def _load_png(path: Path) -> None:
    with Image.open(path) as picture:
        picture.load()


def _load_npz(path: Path) -> None:
    with np.load(path, allow_pickle=False) as arrays:
        [arrays[name] for name in arrays]


def finished_work(folder: Path) -> dict[str, object]:
    """Returns what must not be done again: the time each step ended, the moment each fit's record was written."""
    steps = {path.stem: json.loads(path.read_text()) for path in (folder / "steps").glob("*.json")}
    done: dict[str, object] = {name: step["finished"] for name, step in steps.items() if "fingerprint" in step}
    records = (folder / "arms").rglob("record.json")
    return done | {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in records}


def stage_of(project: Path, name: str) -> str:
    """Returns the step that a run's last attempt was in, by what it said; where it was in none, what came before."""
    said = (project / f"{name}.log").read_text(errors="replace").rpartition(STARTED)[2].splitlines()
    steps = [line for line in said if line.startswith("[")]
    if not steps:
        return "before the first step"
    return steps[-1].split()[1] if steps[-1].endswith("...") else f"after {steps[-1].split()[1]}"


def wait_before_kill(rng: np.random.Generator, longest_s: float) -> float:
    """Draws a wait in seconds: three in five are short, so that kills strike often; the rest lets steps end."""
    early_s = longest_s / 5
    return float(rng.uniform(0.2, early_s) if rng.random() < 0.6 else rng.uniform(early_s, longest_s))


def one_round(project: Path, name: str, seen: Seen, rng: np.random.Generator, *, longest_s: float, kills: int) -> None:
    """Runs one folder to its end, killing it up to so many times."""
    folder, done = project / "reports" / name, {}
    while True:
        process, wait_s = start(project, name), wait_before_kill(rng, longest_s)
        seen.starts += 1
        try:
            code = process.wait(wait_s if seen.kills < kills else None)
        except subprocess.TimeoutExpired:
            orphans = kill(process, all_of_it=bool(rng.integers(3)))
            seen.kills += 1
            seen.orphans_left += len(still_running(orphans))
            now = finished_work(folder)
            where = f"round {seen.rounds + 1}, kill {seen.kills}"
            seen.faults += [f"{where}: half a file: {text}" for text in half_files(project)]
            seen.faults += [f"{where}: {key} was done again" for key in done if now.get(key) != done[key]]
            stage = stage_of(project, name)
            seen.killed_in[stage] = seen.killed_in.get(stage, 0) + 1
            done = now
            print(f"{where}, after {wait_s:.1f} s, in {stage}", file=sys.stderr, flush=True)  # noqa: T201
            continue
        if code:
            seen.faults.append(f"round {seen.rounds + 1}: exit code {code}: {_last_words(project, name)}")
        break
    now = finished_work(folder)
    seen.faults += [f"round {seen.rounds + 1}: {key} was done again" for key in done if now.get(key) != done[key]]
    seen.rounds += 1


def _last_words(project: Path, name: str) -> str:
    return " | ".join((project / f"{name}.log").read_text(errors="replace").splitlines()[-3:])


def killed(project: Path, *, kills: int, seed: int = 0, keep_data: bool = False, longest_s: float = 0) -> Seen:
    """Runs a study once undisturbed, then kills others until all kills are spent; returns what was seen.

    A wait for a kill is at most `longest_s`; if 0, half of what the undisturbed run took.
    """
    began, process = time.monotonic(), start(project, "whole")
    if process.wait():
        raise RuntimeError(_last_words(project, "whole"))
    print(f"undisturbed: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)  # noqa: T201
    longest_s = longest_s or max(5.0, (time.monotonic() - began) / 2)  # long enough for each step to end now and then
    seen, rng = Seen(), np.random.default_rng(seed)
    whole = {name: sha256_file(project / "reports" / "whole" / name) for name in NAMES}
    while seen.kills < kills:
        name = f"killed{seen.rounds}"
        if not keep_data:
            shutil.rmtree(project / "data")
        one_round(project, name, seen, rng, longest_s=longest_s, kills=kills)
        folder = project / "reports" / name
        for file, digest in whole.items():
            found = sha256_file(folder / file) if (folder / file).exists() else "gone"
            seen.faults += [f"{name}: {file} differs from the undisturbed run's"] if found != digest else []
        left = [*folder.rglob(".tmp-*"), *(project / "data").rglob(".tmp-*"), *folder.rglob(".running-*")]
        seen.faults += [f"{name}: left behind: {path.name}" for path in [*left, *folder.glob(".lock")]]
        seen.seconds = time.monotonic() - began
        print(f"{name}: {seen}", file=sys.stderr, flush=True)  # noqa: T201
    return seen


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="a project folder to keep; if it is there, it is taken up again")
    parser.add_argument("--longest", type=float, default=0, help="seconds: most of a wait for a kill")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        project = options.folder or Path(folder) / "project"
        if not project.exists():
            make_project(project)
        found = killed(project, kills=options.kills, seed=options.seed, longest_s=options.longest)
    print(found)  # noqa: T201
    sys.exit(bool(found.faults))
