"""Damaged files end as read or refused: fixed mutations, and every file that once broke a reader."""

from __future__ import annotations

import pytest
from fuzz import CRASHERS, SEEDS, campaign, mutation


def test_p04_the_seeds_are_readable_and_mutations_repeat() -> None:
    assert mutation(0, 5) == mutation(0, 5) != mutation(1, 5) and len(SEEDS) == 12


def test_p04_what_once_broke_a_reader_ends_as_read_or_refused() -> None:
    kept = sorted(CRASHERS.iterdir())
    assert kept and all(path.stat().st_size < 20_000 for path in kept)
    ends, faults = campaign(-1, len(kept))
    assert faults == [] and ends.total() == len(kept)


@pytest.mark.parametrize("n", [2000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_p04_mutations_end_as_read_or_refused(n: int) -> None:
    ends, faults = campaign(0, n)
    assert faults == [] and ends.total() == n
    assert ends["read"] > n // 20 and ends["damaged"] > n // 20 and len(ends) > 8  # they reach the inside of readers
