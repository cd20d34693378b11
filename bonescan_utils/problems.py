"""Problem: one fault of the input, told in one line. A check collects all of them before it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from bonescan_utils.files import safe_text, write_csv

SHOWN = 20
LINE = 500
"""Characters of a problem's line, at most; what to do is never cut off."""
NOT_SHOWN = "(not shown)"
"""In place of a value that may identify a person."""
DO_THIS = "Correct it, then check again."


@dataclass(frozen=True)
class Problem:
    """A fault of the manifest or of a file in it.

    Attributes:
        file: The file with the fault, as the user gave it.
        line: The line in the file, from 1; 0 if the fault has none.
        scan_id: The scan, or ''.
        column: The column, or ''.
        value: What was found, or ''.
        expected: What was expected, as a phrase.
        hint: What to do; `DO_THIS` if it says nothing.
    """

    file: str
    line: int = 0
    scan_id: str = ""
    column: str = ""
    value: str = ""
    expected: str = ""
    hint: str = ""

    def __str__(self) -> str:
        where = [_end(self.file)]
        where += [f"line {self.line}"] if self.line else []
        where += [f"scan {safe_text(self.scan_id, limit=40)}"] if self.scan_id else []
        where += [f"column {safe_text(self.column, limit=40)}"] if self.column else []
        found = f"found {safe_text(self.value, limit=100)!r}; " if self.value or self.column else ""
        text = f"{', '.join(where)}: {found}expected {safe_text(self.expected, limit=160)}."
        todo = safe_text(self.hint or DO_THIS, limit=200)
        return f"{safe_text(text, limit=LINE - 1 - len(todo))} {todo}"


def _end(file: str) -> str:
    """Returns the end of a path, which tells more than its beginning."""
    text = safe_text(file, limit=10_000)
    return text if len(text) <= 120 else "…" + text[-119:]


class ManifestError(Exception):
    """The manifest cannot be used. `problems` holds all its faults; the text shows the first 20."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(list(problems))
        self.problems = list(problems)

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"... and {len(self.problems) - SHOWN:,} more")
        return "\n".join(lines)


def write_problems(path: str | Path, problems: Sequence[Problem]) -> None:
    """Writes all problems to a CSV: the attributes of each as text, and `problem`, its line."""
    import pandas as pd

    rows = [{**asdict(problem), "problem": str(problem)} for problem in problems]
    columns = [*(field.name for field in fields(Problem)), "problem"]
    write_csv(path, pd.DataFrame(rows, columns=pd.Index(columns)).map(lambda cell: safe_text(cell, limit=500)))
