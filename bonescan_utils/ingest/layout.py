"""Layout: what a public data set holds, as its finder tells it, before an image is opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class PublicScan:
    """A scan of a public data set: its image of each view, relative to the root, and its cells in the manifest."""

    files: dict[str, str]
    row: dict[str, Any]


@dataclass
class Layout:
    """A public data set.

    Attributes:
        scans: Its scans.
        aside: Rows of quarantine for what cannot be a scan: `file, row, scan_id, code, reason, next_step`.
        read: Files that were read for labels or boxes.
        boxes: scan_id, view, x0, y0, x1, y1 in pixels, label; None if the set has none.
    """

    scans: list[PublicScan] = field(default_factory=list)
    aside: list[dict[str, Any]] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    boxes: pd.DataFrame | None = None

    def set_aside(
        self, file: str, code: str, reason: str, step: str, *, row: int | str = "", scan_id: str = ""
    ) -> None:
        """Sets a file, or a row of a list, aside."""
        told = {"code": code, "reason": reason, "next_step": step}
        self.aside.append({"file": file, "row": row, "scan_id": scan_id, **told})
