"""Account: what a run says of its steps - in its record, and in its pages - and of how it ended."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bonescan_utils import provenance
from bonescan_utils.steps import Step
from bonescan_utils.whereabouts import machine_folders, recorded, recorded_command, without_folders


def summaries(steps: Sequence[Step], done: int) -> list[dict[str, Any]]:
    """Return what `run.json` says of the steps: of those not come to yet, no result of an earlier run."""
    return [_summary(step) for step in steps[:done]] + [
        {"name": step.name, "status": "not done"} for step in steps[done:]
    ]


def _summary(step: Step) -> dict[str, Any]:
    """Return what `run.json` says of a step."""
    record = step.record()
    if "fingerprint" not in record:
        return {"name": step.name, "status": "not done"}
    outputs = [{key: output[key] for key in ("path", "rows", "sha256")} for output in record["outputs"]]
    done = {key: record.get(key) for key in ("finished", "seconds")}
    return {
        "name": step.name,
        "status": "done",
        **done,
        "parameters": recorded(step.parameters),
        "outputs": outputs,
    }


def notes(steps: Sequence[Step]) -> dict[str, Any]:
    """Return what some steps noted."""
    found: dict[str, Any] = {}
    for step in steps:
        found |= step.record().get("notes", {})
    return found


def write_pages(steps: Sequence[Step], record: Mapping[str, Any]) -> None:
    """Write the web pages of the executed copies that are newer than their page, the report, and the first page."""
    from bonescan_utils.report import write_index, write_page
    from bonescan_utils.reporting.page import write_report

    present = [step for step in steps if step.copy.exists()]
    links = [(step.name.replace("_", " "), step.page.name) for step in present]
    for step in present:
        if not step.page.exists() or step.page.stat().st_mtime_ns < step.copy.stat().st_mtime_ns:
            write_page(step.copy, step.page, links=links)
    if record["status"] == "finished":
        write_report(steps[0].folder)
    addresses = [(title, f"notebooks/{name}") for title, name in links]
    write_index(steps[0].folder / "index.html", record=record, links=addresses)


def ending(error: BaseException, step: Step, kept: Sequence[str]) -> dict[str, Any]:
    """Return what the record says of a run that did not come to its end: where, why, what is kept, how to go on.

    Folders of this machine are not told.
    """
    failure = {
        "step": step.name,
        "cell": getattr(error, "cell", 0),
        "section": getattr(error, "section", ""),
        "error": getattr(error, "ename", type(error).__name__),
        "reason": str(getattr(error, "reason", error))[:500],
        "kept": list(kept),
        "to_resume": recorded_command(sys.argv[1:]),
    }
    ended = {"finished": provenance.now(), "failure": failure}
    stopped = isinstance(error, KeyboardInterrupt)
    ended |= {"status": "stopped"} if stopped else {"status": "failed", "reason": str(error)[:500]}
    folders = machine_folders(project=step.source.parents[1], run_dir=step.folder, given=step.parameters)
    return dict(without_folders(ended, folders))


def drop_report(folder: Path) -> None:
    """Remove the report of a run of which a step is done anew: it is of the run as it was."""
    from bonescan_utils.report import REPORT_PAGE

    (folder / REPORT_PAGE).unlink(missing_ok=True)
