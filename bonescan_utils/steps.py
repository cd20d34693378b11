"""Steps: one notebook of a run - whether it must be executed, and the record of its execution.

A step is skipped when its parameters, its notebook, the package's code, the versions that matter and its
inputs are those of its last success, and all it wrote is still there. It has succeeded when its last cell
wrote a record with the number drawn for this very execution: papermill also calls a notebook done that left
early.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bonescan_utils import provenance
from bonescan_utils.outputs import begun_path, outputs_changed, read_begun
from bonescan_utils.profiles import NEVER_STALE
from bonescan_utils.screen import Screen
from bonescan_utils.seal import read_sealed, write_sealed


@dataclass(frozen=True)
class Step:
    """One notebook of one run.

    Attributes:
        source: The clean notebook.
        folder: The run folder.
        parameters: What is passed to the notebook.
    """

    source: Path
    folder: Path
    parameters: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The notebook's stem."""
        return self.source.stem

    @property
    def copy(self) -> Path:
        """The executed copy."""
        return self.folder / "notebooks" / self.source.name

    @property
    def page(self) -> Path:
        """The executed copy as a web page."""
        return self.copy.with_suffix(".html")

    @property
    def record_path(self) -> Path:
        """Where the record of the last execution stands."""
        return self.folder / "steps" / f"{self.name}.json"

    def record(self) -> dict[str, Any]:
        """Return the record of the last execution; empty if there is none that is whole."""
        try:
            return read_sealed(self.record_path)
        except (OSError, ValueError):
            return {}

    def fingerprint(self, inputs: str) -> dict[str, str]:
        """Return hashes of all that decides what the notebook writes, by the name shown to a user.

        Args:
            inputs: Hash of its inputs.
        """
        return {
            "parameters": provenance.digest({k: v for k, v in self.parameters.items() if k not in NEVER_STALE}),
            "notebook": provenance.notebook_hash(self.source),
            "code": provenance.code_hash(),
            "package versions": provenance.digest(provenance.versions(provenance.DECISIVE)),
            "inputs": inputs,
        }

    def why_stale(self, inputs: str) -> str:
        """Return why the notebook must be executed, in a few words; '' if it need not."""
        record = self.record()
        if not record:
            return "its record is damaged or of another version" if self.record_path.exists() else "not done yet"
        if "fingerprint" not in record:
            return "stopped before its end was noted" if record.get("nonce") else "last executed by hand"
        different = provenance.changed(record["fingerprint"], self.fingerprint(inputs))
        if different:
            return f"changed: {', '.join(different)}"
        gone = outputs_changed(self.folder, record["outputs"])
        gone += [] if self.copy.exists() else [self.copy.name]
        return f"missing or changed: {', '.join(gone[:3])}" + (" ..." if len(gone) > 3 else "") if gone else ""

    def execute(self, inputs: Callable[[], str], *, screen: Screen | None = None) -> float:
        """Execute the notebook and complete its record; return the seconds it took.

        Args:
            inputs: Gives the hash of its inputs; asked at the end, for the first step makes the phantoms' files, its
                inputs of the next time.
            screen: Where the kernel's text goes.

        Raises:
            CellError: A cell failed, the kernel died, or the notebook ended before its last cell.
        """
        from bonescan_utils.execution import CellError, Job, execute

        before, nonce = self.record(), secrets.token_hex(8)
        if not before:
            self.record_path.unlink(missing_ok=True)  # damaged: no notebook may go by it
        fingerprint = self.fingerprint("")  # of the code that is about to run, not of what it may be by the end
        seconds = execute(Job(self.source, self.copy, dict(self.parameters), nonce=nonce), screen=screen)
        record = self.record()
        if record.get("nonce") != nonce:
            raise CellError(self.name, "NotFinished", "it ended before its last cell, which lists what it wrote")
        self._remove_leftovers(before, record)
        fingerprint["inputs"] = inputs()
        write_sealed(self.record_path, record | {"fingerprint": fingerprint, "seconds": round(seconds, 1)})
        begun_path(self.folder, self.name).unlink(missing_ok=True)
        return seconds

    def _remove_leftovers(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Remove what earlier executions wrote, ended or not, and this one did not: a run shows nothing of an older."""
        names = {str(output["path"]) for output in before.get("outputs", [])} | set(read_begun(self.folder, self.name))
        for name in names - {str(output["path"]) for output in now["outputs"]}:
            path = (self.folder / name).resolve()
            if not path.is_relative_to(self.folder.resolve()) or path == self.folder.resolve():
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
