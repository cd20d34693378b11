"""Runner: the study's notebooks in order, in one run folder, with a record of what it was made from."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bonescan_utils import provenance, workers
from bonescan_utils.account import drop_report, ending, notes, summaries, write_pages
from bonescan_utils.arms import get_arm
from bonescan_utils.feature_store import evict
from bonescan_utils.files import sha256_file
from bonescan_utils.labelling.readings import LOG
from bonescan_utils.leaks import audit_run, wrote_cohort
from bonescan_utils.lock import run_lock
from bonescan_utils.profiles import StudyConfig, StudyError, notebook_parameters
from bonescan_utils.room import check_disk
from bonescan_utils.run_record import VERSION, require_same_settings, seal_record, write_record
from bonescan_utils.screen import Screen
from bonescan_utils.steps import Step
from bonescan_utils.temporaries import remove_stale
from bonescan_utils.weights import OFFLINE_VARIABLE, WeightsSource, resolve_weights
from bonescan_utils.whereabouts import recorded, recorded_command, write_whereabouts


@dataclass(frozen=True)
class Project:
    """Where the notebooks are and where runs go."""

    notebooks: Path
    reports: Path

    def sources(self) -> list[Path]:
        """Return the notebooks in their order.

        Raises:
            StudyError: There is none.
        """
        found = sorted(self.notebooks.glob("[0-9][0-9]_*.ipynb"))
        if not found:
            raise StudyError(f"no notebooks (01_*.ipynb and so on) in {self.notebooks}")
        return found


def find_project(start: Path | None = None) -> Project:
    """Return the project that a folder belongs to, else the one that this package was installed from.

    Raises:
        StudyError: There are no notebooks in either.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents, Path(__file__).resolve().parents[1]):
        if list((folder / "notebooks").glob("01_*.ipynb")):
            return Project(folder / "notebooks", folder / "reports")
    raise StudyError(f"no folder 'notebooks' in {start} or above; run this in a clone of the project")


def run_study(
    config: StudyConfig, project: Project, *, screen: Screen, parent: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> Path:  # fmt: skip
    """Execute the study and return its run folder.

    Everything that can be checked beforehand is checked before anything is written or started.

    Args:
        config: All settings.
        project: Where the notebooks and the runs are.
        screen: Where progress is reported.
        parent: The run that this one repeats, for its record: run, record_sha256, differs.
        replace: Use the folder of a run with other settings: what they change is made again, the rest is kept.

    Raises:
        StudyError: A setting, a notebook, the disk or another run stands in the way.
        ManifestError: The manifest has problems; all of them are listed.
        WeightsError: Weights that were asked for are not to be had.
        WorkerError: A scheduler was named, and does not answer or has no worker.
        CellError: A notebook failed.
    """
    manifest = _checked_manifest(config.manifest)
    folder = project.reports / config.run
    steps = [Step(source, folder, notebook_parameters(source, config, run_dir=folder)) for source in project.sources()]
    screen.line(f"{len(manifest):,} scans in {config.manifest.name}; results go to {shown(folder)}")
    weights = starting_weights(config)
    for line in weights_lines(weights):
        screen.line(line)
    check_disk(config, len(manifest), folder)
    os.environ[workers.SCHEDULER_VARIABLE] = config.scheduler
    if config.scheduler:
        screen.line(f"work goes to {workers.describe()}")
    with run_lock(folder):
        if not replace:
            require_same_settings(folder, config)
        remove_stale(folder)
        write_whereabouts(folder, config.model_dump())
        record = _first_record(config, project, manifest, weights) | {"parent": parent}
        _run_steps(steps, record, manifest, screen=screen)
        if not config.keep_features:
            evict(folder / "features")
        seal_record(folder, record, root=config.manifest.parent)
    return folder


def _checked_manifest(path: Path) -> pd.DataFrame:
    """Return the manifest; raise a ManifestError with all that is wrong in it and with the files it names."""
    from bonescan_utils.manifest import check_paths, read_manifest
    from bonescan_utils.problems import ManifestError

    manifest = read_manifest(path)
    problems = check_paths(manifest, path.parent)
    if problems:
        raise ManifestError(problems)
    return manifest


def starting_weights(config: StudyConfig) -> dict[str, WeightsSource]:
    """Return what each arm starts from, arms in their order.

    Raises:
        WeightsError: The weights that were asked for are not to be had.
    """
    names = list(dict.fromkeys([config.arm, *config.arms]))
    folder = config.weights_dir or None
    backbones = {get_arm(name).backbone for name in names}
    found = {
        name: resolve_weights(name, weights=config.weights, weights_dir=folder, seed=config.seed)
        for name in sorted(backbones)
    }
    return {name: found[get_arm(name).backbone] for name in names}


def weights_lines(weights: Mapping[str, WeightsSource]) -> list[str]:
    """Return lines that say what each arm starts from; arms of one backbone share a line."""
    groups: dict[str, list[str]] = {}
    for arm, source in weights.items():
        groups.setdefault(f"{source.kind}: {source.note}", []).append(arm)
    return [f"  starts from {what}  <- {', '.join(arms)}" for what, arms in groups.items()]


def _run_steps(steps: Sequence[Step], record: dict[str, Any], manifest: pd.DataFrame, *, screen: Screen) -> None:
    """Execute the steps that need it; keep `run.json` true after each."""
    folder = steps[0].folder
    os.environ[OFFLINE_VARIABLE] = "1"  # the weights are settled: kernels do not look for others
    number = 0
    try:
        for number in range(len(steps)):
            record["steps"] = summaries(steps, number)
            record["steps"][number]["status"] = "running"
            write_record(folder, record)
            _one_step(steps, number, record, manifest, screen=screen)
            if wrote_cohort(steps[number].record()):  # audited before any other step sees it
                record["audit"] = audit_run(folder, manifest, n_jobs=record["config"]["n_jobs"], screen=screen)
    except BaseException as error:
        kept = [each.name for each in steps[:number]]
        record |= ending(error, steps[number], kept)
        screen.line(
            f"  ended in {steps[number].name}; kept: {', '.join(kept) or 'no step'}, and every arm that is trained"
        )
        with suppress(OSError):  # a full disk; the error under way says so
            _close(steps, record, done=number)
        raise
    record |= {"status": "finished", "finished": provenance.now()}
    _close(steps, record, done=len(steps))


def _close(steps: Sequence[Step], record: dict[str, Any], *, done: int) -> None:
    """Write the record and the pages of a run of which the first so many steps are done."""
    record |= {"steps": summaries(steps, done), "notes": notes(steps[:done])}
    write_record(steps[0].folder, record)
    write_pages(steps, record)


def _one_step(
    steps: Sequence[Step], number: int, record: Mapping[str, Any], manifest: pd.DataFrame, *, screen: Screen
) -> None:
    """Skip or execute one step, with a line before and after."""
    step, title = steps[number], f"[{number + 1}/{len(steps)}] {steps[number].name}"

    def inputs() -> str:
        return _inputs(steps[:number], record, manifest)

    reason = step.why_stale(inputs())
    if not reason:
        screen.line(f"{title}  unchanged, kept from {step.record().get('finished', '?')}")
        return
    drop_report(step.folder)
    screen.line(f"{title}  ({reason}) ...")
    seconds = step.execute(inputs, screen=screen)
    outputs = [str(output["path"]) for output in step.record()["outputs"]]
    tables, figures = (sum(name.endswith(end) for name in outputs) for end in (".csv", ".png"))
    screen.line(f"{title}  done in {clock(seconds)}: {tables} tables, {figures} figures")


def _inputs(earlier: Sequence[Step], record: Mapping[str, Any], manifest: pd.DataFrame) -> str:
    """Return a hash of a step's inputs: the outputs of earlier steps; of the first, manifest, files, readings."""
    if earlier:
        outputs = [output for step in earlier for output in step.record().get("outputs", [])]
        weights = [source["md5"] or source["weights"] for source in record["weights"].values()]
        return provenance.digest([weights, [(output["path"], output["sha256"]) for output in outputs]])
    root = Path(manifest.attrs["path"]).parent
    names = [name for column in ("anterior", "posterior") for name in manifest[column] if name]
    return provenance.digest(
        [record["manifest"]["sha256"], provenance.files_state(root / name for name in [*names, LOG])]
    )


def _first_record(
    config: StudyConfig, project: Project, manifest: pd.DataFrame, weights: Mapping[str, WeightsSource]
) -> dict[str, Any]:
    """Return the run's record as it is before the first step."""
    settings = recorded(config.model_dump(mode="json"))
    return {
        "record_version": VERSION,
        "run": config.run,
        "status": "running",
        "started": provenance.now(),
        "command": recorded_command(sys.argv[1:]),
        "config": settings,
        "manifest": {
            "name": config.manifest.name,
            "sha256": sha256_file(config.manifest),
            "scans": len(manifest),
            "patients": int(manifest["patient_id"].nunique()),
            "with_metastasis": int((manifest["metastasis"] == 1).sum()),
        },
        "weights": {arm: source.to_dict() for arm, source in weights.items()},
        "environment": provenance.environment(project.notebooks),
        "steps": [],
        "notes": {},
    }


def shown(path: Path) -> str:
    """Return a path as short as it can be told from here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, such as 2:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
