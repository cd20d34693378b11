"""The table of promises in SECURITY.md: every promise has a row, and every test that a row names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = re.findall(r"^\| (P\d+) \|(.*)\|$", (ROOT / "SECURITY.md").read_text(encoding="utf-8"), re.MULTILINE)
TESTS = {
    name
    for path in (ROOT / "tests").glob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
}


def test_every_promise_has_one_row() -> None:
    assert [number for number, _ in ROWS] == [f"P{number}" for number in range(1, 24)]


@pytest.mark.parametrize(("number", "row"), ROWS)
def test_a_row_says_how_and_names_tests_that_exist(number: str, row: str) -> None:
    promise, how, tests, _ = (cell.strip() for cell in row.split("|"))
    named = re.findall(r"`(test_\w+)`", tests)
    assert promise and how and named and set(named) <= TESTS, set(named) - TESTS


def test_every_test_that_is_named_after_a_promise_is_in_its_row() -> None:
    rows = dict(ROWS)
    for name in TESTS:
        if found := re.match(r"test_p(\d\d)_", name):
            assert f"`{name}`" in rows[f"P{int(found[1])}"], name
