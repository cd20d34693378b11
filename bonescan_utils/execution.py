"""Execution: one notebook through papermill in its own kernel, with a readable account of how it ended.

Nothing here knows what a notebook does. Kernels talk over private sockets in a temporary folder where the
system has them, so parallel runs cannot meet on a TCP port and nobody else on the machine can listen.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from bonescan_utils.files import write_text
from bonescan_utils.screen import Screen, without_noise
from bonescan_utils.study import NONCE_VARIABLE
from bonescan_utils.temporaries import remove_stale, temporary
from bonescan_utils.whereabouts import machine_folders, recorded, without_folders

logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what went wrong is said once, by CellError


class CellError(Exception):
    """A notebook that did not reach its end: which one, which cell, why.

    Attributes:
        notebook: Stem of the notebook, such as `03_vgg16_transfer`.
        ename: Class name of the error in the kernel.
        reason: Its text, one line.
        cell: Number of the code cell, from 1; 0 if unknown.
        section: Heading above that cell, or ''.
    """

    def __init__(self, notebook: str, ename: str, reason: str, *, cell: int = 0, section: str = "") -> None:
        super().__init__(notebook, ename, reason)
        self.notebook, self.ename, self.reason = notebook, ename, reason
        self.cell, self.section = cell, section

    def __str__(self) -> str:
        where = f", code cell {self.cell}" if self.cell else ""
        where += f" (section '{self.section}')" if self.section else ""
        return f"{self.notebook}{where}: {self.ename}: {self.reason}"


class KernelManager(AsyncKernelManager):
    """Starts this very Python as the kernel, whatever kernels a user has registered under the same name."""

    current: KernelManager | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._spec = KernelSpec(
            argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            display_name="Python 3",
            language="python",
        )
        remove_stale(Path(tempfile.gettempdir()), deep=False)
        self._folder = temporary(Path(tempfile.gettempdir()) / "kernel")
        self._folder.mkdir(mode=0o700)
        self._process: Any = None
        if os.name == "posix":  # in a short path of our own: a socket's path has at most about 100 characters
            self.transport = "ipc"
            self.ip = str(self._folder / "kernel")
        type(self).current = self

    @property
    def kernel_spec(self) -> KernelSpec:
        """The kernel to start."""
        return self._spec

    async def start_kernel(self, **options: Any) -> None:  # type: ignore[override, unused-ignore]
        """Start the kernel; what it says outside of cells goes to a file, not to the terminal."""
        with (self._folder / "stderr.txt").open("wb") as stderr:
            await super().start_kernel(stderr=stderr, **options)
        self._process = getattr(self.provisioner, "process", None)

    def last_words(self) -> str:
        """Return the last line that the kernel wrote outside of cells."""
        path = self._folder / "stderr.txt"
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def kill_group(self) -> None:
        """Kill the kernel and all that it started, at once."""
        process = self._process
        if process is not None and process.poll() is None:
            with suppress(ProcessLookupError, PermissionError):
                if os.name == "posix":
                    os.killpg(process.pid, signal.SIGKILL)
                else:
                    process.kill()

    def was_killed(self) -> bool:
        """Whether the kernel ended by a signal that no program can catch: what a system without memory sends."""
        with suppress(subprocess.TimeoutExpired):
            return self._process is not None and self._process.wait(timeout=5) == -9
        return False

    def remove_folder(self) -> None:
        """Remove the folder of the sockets."""
        shutil.rmtree(self._folder, ignore_errors=True)


class Relay:
    """One output channel of a kernel, as a file for papermill; lines come out whole and indented."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self._line = ""

    def write(self, text: str) -> int:
        """Take a piece of output; pieces end anywhere."""
        for piece in re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text):
            body = self._line + piece.rstrip("\r\n")
            self._line = body if piece[-1] not in "\r\n" else ""
            if without_noise(body) != body:
                continue
            if piece.endswith("\n") and body.strip():
                self.screen.line(f"      {body.strip()}")
            elif body.strip() and "\n" not in piece:
                self.screen.bar(f"      {body.strip()}")
        return len(text)

    def flush(self) -> None:
        """Do what papermill expects of a file."""
        self.screen.stream.flush()

    def close(self) -> None:
        """Write what is left of an unfinished line."""
        if self._line.strip():
            self.screen.line(f"      {self._line.strip()}")
        self._line = ""


@dataclass(frozen=True)
class Job:
    """One notebook to execute: the clean source, where the executed copy goes, and its parameters."""

    source: Path
    target: Path
    parameters: dict[str, Any]
    nonce: str = ""
    timeout_s: int | None = None


def execute(job: Job, *, screen: Screen | None = None) -> float:
    """Execute a notebook; return the seconds it took.

    The executed copy appears at `job.target` when the execution ends, after a failure too. Paths of this
    machine are taken out of its metadata.

    Args:
        job: What to execute; the kernel's working folder is that of `job.source`.
        screen: Where the kernel's text output is passed on to; None to keep it to the notebook.

    Raises:
        CellError: A cell raised an error or took too long, or the kernel died.
        KeyboardInterrupt: Ctrl-C; the kernel and its children are gone by then.
    """
    started = time.monotonic()
    relays = [Relay(screen), Relay(screen)] if screen is not None else []
    job.target.parent.mkdir(parents=True, exist_ok=True)
    running = job.target.with_name(f".running-{job.target.name}")
    running.unlink(missing_ok=True)
    from papermill.exceptions import PapermillExecutionError

    before = os.environ.get(NONCE_VARIABLE)
    os.environ[NONCE_VARIABLE] = job.nonce
    try:
        _papermill(job, running, *relays)
    except PapermillExecutionError as error:
        raise _cell_error(job, running, error.ename, error.evalue) from None
    except DeadKernelError:
        raise _cell_error(job, running, *_death(KernelManager.current)) from None
    except CellTimeoutError:
        raise _cell_error(job, running, "Timeout", f"a cell took longer than {job.timeout_s} s") from None
    finally:
        _restore(NONCE_VARIABLE, before)
        if KernelManager.current is not None:
            KernelManager.current.kill_group()  # whatever is left of it: nothing goes on writing into the run folder
            KernelManager.current.remove_folder()
            KernelManager.current = None
        for relay in relays:
            relay.close()
        _publish(running, job)
    return time.monotonic() - started


def _papermill(job: Job, target: Path, out: Relay | None = None, err: Relay | None = None) -> None:
    import papermill

    papermill.execute_notebook(
        job.source,
        target,
        parameters=job.parameters,
        progress_bar=False,
        stdout_file=out,
        stderr_file=err,
        start_timeout=180,
        execution_timeout=job.timeout_s,
        kernel_name="python3",
        kernel_manager_class=KernelManager,
        coalesce_streams=True,  # so that a progress bar is one line in the executed copy
        resources={"metadata": {"path": str(job.source.parent)}},
    )


def _cell_error(job: Job, copy: Path, ename: str, reason: str) -> CellError:
    """Return the error with the number and heading of its code cell, as they are in the clean notebook."""
    number, section, last = 0, "", (0, "")
    for cell in _cells(copy):
        if cell.cell_type == "markdown":
            section = _heading(cell.source) or section
            continue
        number += cell.cell_type == "code"
        if cell.metadata.get("papermill", {}).get("start_time"):  # papermill goes no further than the failed one
            last = (number, section)
    return CellError(job.source.stem, ename, " ".join(reason.split())[:500], cell=last[0], section=last[1])


def _death(manager: KernelManager | None) -> tuple[str, str]:
    """Return the name and the text of the error of a kernel that is gone."""
    words = manager.last_words()[:200] if manager is not None else ""
    last = f" (its last words: {words})" if words else ""
    if manager is not None and manager.was_killed():
        return "KernelKilled", f"the notebook's Python was killed; most often the machine ran out of memory{last}"
    return "KernelDied", f"the notebook's Python stopped suddenly{last}"


def _cells(copy: Path) -> list[nbformat.NotebookNode]:
    """Return the cells of an executed copy without those that papermill added."""
    added = {"injected-parameters", "papermill-error-cell-tag"}
    notebook = _read(copy)
    cells = notebook.cells if notebook is not None else []
    return [cell for cell in cells if not added & set(cell.metadata.get("tags", []))]


def _read(copy: Path) -> nbformat.NotebookNode | None:
    """Return papermill's copy; None where there is none, or where it could not write it whole (a full disk)."""
    try:
        return nbformat.read(copy, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError):
        return None


def _heading(markdown: str) -> str:
    """Return the last heading in a markdown cell, without its marks."""
    lines = [line.lstrip("#").strip() for line in markdown.splitlines() if line.startswith("#")]
    return lines[-1] if lines else ""


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _publish(running: Path, job: Job) -> None:
    """Put an executed copy in its place, without the folders of this machine in metadata, parameters and messages."""
    notebook = _read(running)
    if notebook is None:
        running.unlink(missing_ok=True)
        return
    told = notebook.metadata.get("papermill", {})
    for key in ("input_path", "output_path", "environment_variables"):
        told.pop(key, None)
    shown = recorded(job.parameters)
    told["parameters"] = shown
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.source = "\n".join(_shown_line(line, job.parameters, shown) for line in cell.source.splitlines())
        for output in (output for output in cell.outputs if output.output_type == "stream"):
            output.text = without_noise(output.text)
        cell.outputs = [output for output in cell.outputs if output.get("text", "kept").strip()]
    here, run_dir = job.source.parent.resolve(), str(job.parameters.get("run_dir", ""))
    folders = machine_folders(project=here.parent, run_dir=here / run_dir, given=job.parameters)
    write_text(job.target, nbformat.writes(without_folders(notebook, folders)) + "\n")
    running.unlink()


def _shown_line(line: str, given: dict[str, Any], shown: dict[str, Any]) -> str:
    """Return a line of the injected parameters with the value that is shown in place of the one that was given."""
    name = line.partition(" = ")[0]
    return line if given.get(name) == shown.get(name) else f"{name} = {json.dumps(shown[name])}"
