"""Where do the seconds of a finished run go? From the times that its executed notebooks hold.

python tests/bench/profile_run.py reports/study
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path

from record import record


def cells(notebook: Path) -> list[tuple[float, str]]:
    """Seconds and first line of each executed cell."""
    found = []
    for cell in json.loads(notebook.read_text())["cells"]:
        about = cell.get("metadata", {}).get("papermill", {})
        if cell["cell_type"] != "code" or not about.get("duration"):
            continue
        first = next((line for line in "".join(cell["source"]).splitlines() if line.strip()), "")
        found.append((float(about["duration"]), f"{notebook.stem[:2]}: {first[:58]}"))
    return found


def whole(notebook: Path) -> float:
    """Seconds of the notebook with the start of its kernel."""
    about = json.loads(notebook.read_text())["metadata"]["papermill"]
    began, ended = (datetime.fromisoformat(about[name]) for name in ("start_time", "end_time"))
    return (ended - began).total_seconds()


def main() -> None:
    notebooks = sorted((Path(sys.argv[1]) / "notebooks").glob("*.ipynb"))
    total = sum(whole(notebook) for notebook in notebooks)
    spent = sorted((each for notebook in notebooks for each in cells(notebook)), reverse=True)
    rows = [
        ("all notebooks", total, "s"),
        ("outside of cells (kernels, records)", total - sum(s for s, _ in spent), "s"),
    ]
    rows += [(what, seconds, "s") for seconds, what in spent[:8]]
    record("profile", rows)


if __name__ == "__main__":
    main()
