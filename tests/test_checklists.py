"""Reporting guidelines: complete, in order, and never called answered by something the report does not have."""

from __future__ import annotations

import re

import pytest

from bonescan_utils.reporting.catalogue import DRAWINGS, SECTIONS, TABLES
from bonescan_utils.reporting.checklists import AUTHOR, CHECKLISTS, filled, load_checklist
from bonescan_utils.reporting.methods import ANCHORS
from bonescan_utils.reporting.page import FIXED_ANCHORS

SIZES = {"claim_2024": (44, 44), "stard_ai": (40, 48), "tripod_ai": (27, 52)}
"""Numbered items and rows of the published checklists (Tejani 2024; Sounderajah 2025, Table 2; Collins 2024)."""
POSSIBLE = {*FIXED_ANCHORS, *ANCHORS, *SECTIONS, *(entry.anchor for entry in [*TABLES, *DRAWINGS])}


def parts(name: str) -> list[str]:
    return [entry["id"] for entry in load_checklist(name)["items"]]


@pytest.mark.parametrize("name", CHECKLISTS)
def test_every_item_of_the_guideline_is_there_in_order(name: str) -> None:
    items, rows = SIZES[name]
    ids = parts(name)
    numbers = [int(re.match(r"\d+", each).group()) for each in ids]
    assert len(ids) == len(set(ids)) == rows
    assert numbers == sorted(numbers) and sorted(set(numbers)) == list(range(1, items + 1))


@pytest.mark.parametrize("name", CHECKLISTS)
def test_items_point_to_what_a_report_can_have(name: str) -> None:
    for entry in load_checklist(name)["items"]:
        assert set(entry) <= {"id", "section", "item", "answered", "phantom", "add", "patients"}, entry
        assert {*entry.get("answered", []), *entry.get("phantom", [])} <= POSSIBLE, entry


@pytest.mark.parametrize("name", CHECKLISTS)
def test_an_empty_report_answers_nothing(name: str) -> None:
    assert filled(name, anchors=(), arm="proposed", synthetic=True).count(AUTHOR) == SIZES[name][1]


def test_what_software_cannot_know_is_left_to_the_author() -> None:
    everything = {anchor.format(arm="proposed") for anchor in POSSIBLE}
    for name, own in (
        ("claim_2024", {"34", "41", "44"}),
        ("stard_ai", {"34", "36", "38"}),
        ("tripod_ai", {"18a", "25"}),
    ):
        items = filled(name, anchors=everything, arm="proposed", synthetic=True).items
        assert own <= {item.number for item in items if item.status == AUTHOR}
        assert all(item.anchors for item in items if item.status != AUTHOR)


def test_scans_of_patients_leave_more_to_the_author_than_phantoms() -> None:
    everything = {anchor.format(arm="vgg16") for anchor in POSSIBLE}
    found = {yes: filled("stard_ai", anchors=everything, arm="vgg16", synthetic=yes) for yes in (True, False)}
    status = {yes: {item.number: item.status for item in each.items} for yes, each in found.items()}
    assert status[True]["6"] == "answered" and status[False]["6"] == AUTHOR  # ethics
    assert status[True]["7"] == "answered" and status[False]["7"] == "partly"  # eligibility
    assert status[True]["24"] == status[False]["24"] == "answered"  # flow diagram
