"""Checklists: reporting guidelines, each item pointing to where the report answers it, or left to the author."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files as package_files
from typing import Any

import yaml

CHECKLISTS = ("claim_2024", "stard_ai", "tripod_ai")
"""Files in `assets/`, in the order of the report."""
ANSWERED, PARTLY, AUTHOR = "answered", "partly", "author"


@dataclass(frozen=True)
class Item:
    """One item of a guideline.

    Attributes:
        number: Its number there.
        section: The part of the guideline it is in.
        text: What it asks for, in short.
        status: `answered`, `partly` (the author adds something) or `author`.
        anchors: Where in the report it is answered.
        add: What the author has to add, or ''.
    """

    number: str
    section: str
    text: str
    status: str
    anchors: tuple[str, ...]
    add: str


@dataclass(frozen=True)
class Checklist:
    """One guideline, filled as far as a run can fill it."""

    title: str
    anchor: str
    source: str
    items: tuple[Item, ...]

    def count(self, status: str) -> int:
        """Returns how many items have a status."""
        return sum(item.status == status for item in self.items)


def load_checklist(name: str) -> dict[str, Any]:
    """Returns the data of a guideline: `title, anchor, source, items`."""
    text = (package_files("bonescan_utils") / "assets" / f"{name}.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def filled(name: str, *, anchors: Collection[str], arm: str, synthetic: bool) -> Checklist:
    """Returns a guideline with every item pointing to what the report of this run has.

    Args:
        name: One of `CHECKLISTS`.
        anchors: The anchors that the report has.
        arm: The study's arm, for anchors that name it.
        synthetic: Whether the scans are phantoms.
    """
    data = load_checklist(name)
    items = tuple(_item(entry, anchors, arm, synthetic) for entry in data["items"])
    return Checklist(data["title"], data["anchor"], data["source"], items)


def _item(entry: Mapping[str, Any], anchors: Collection[str], arm: str, synthetic: bool) -> Item:
    """Returns one item with its status: only what the report really has counts as an answer."""
    of_phantoms = entry.get("phantom", []) if synthetic else []
    named = [anchor.format(arm=arm) for anchor in [*entry.get("answered", []), *of_phantoms]]
    there = tuple(anchor for anchor in named if anchor in anchors)
    add = str(entry.get("add", "" if synthetic else entry.get("patients", "")))
    status = (PARTLY if add else ANSWERED) if there else AUTHOR
    return Item(entry["id"], entry["section"], entry["item"], status, there, add)
