"""P19: a run that is killed again and again ends as one that was left alone (see `crash.py`)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from crash import half_files, killed, make_project

KILLS = int(os.environ.get("BONESCAN_KILLS", "50"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux to find what a run started")
def test_p19_a_run_killed_fifty_times_ends_as_one_left_alone(tmp_path: Path) -> None:
    seen = killed(make_project(tmp_path / "project"), kills=KILLS, seed=1)
    assert seen.kills >= KILLS and seen.rounds >= 1
    assert seen.orphans_left == 0, "a kernel whose run was killed ends by itself"
    assert seen.faults == []


def test_half_a_file_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}')
    (tmp_path / ".tmp-x.json").write_text("{")
    assert half_files(tmp_path) == []
    for name in ("b.json", "c.npz", "d.png", "e.npy"):
        (tmp_path / name).write_text("{")
    assert [text.split(":")[0] for text in sorted(half_files(tmp_path))] == ["b.json", "c.npz", "d.png", "e.npy"]
