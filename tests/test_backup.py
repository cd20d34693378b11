"""P19: a fit that was killed goes on from its backup, to the same weights; a damaged backup is never half used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bonescan_utils.backup import KEPT, Backup, Saved
from bonescan_utils.profiles import StudyError


def saved(epoch: int) -> Saved:
    return Saved(epoch, {"x": np.arange(50) + epoch}, {"rng": {"state": 2**127 + epoch}})


def backups(folder: Path, *epochs: int) -> list[str]:
    said: list[str] = []
    backup = Backup(folder, "key", every_s=0, say=said.append)
    for epoch in epochs:
        backup.save(saved(epoch))
    return said


def test_p19_the_last_backup_is_taken_up_and_two_are_kept(tmp_path: Path) -> None:
    said = backups(tmp_path, 1, 2, 3)
    found = Backup(tmp_path, "key", say=said.append).load()
    assert found is not None and found.epoch == 3 and found.about == saved(3).about
    np.testing.assert_array_equal(found.arrays["x"], saved(3).arrays["x"])
    assert said == ["goes on after epoch 3, from its backup"]
    assert len(list(tmp_path.glob("*.npz"))) == len(list(tmp_path.glob("*.json"))) == KEPT


def test_there_is_none_at_first_nor_of_another_fit(tmp_path: Path) -> None:
    assert Backup(tmp_path / "none", "key").load() is None
    backups(tmp_path, 1)
    assert Backup(tmp_path, "another key").load() is None
    Backup(tmp_path, "key").clear()
    assert not tmp_path.exists()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


HARMS: list[Callable[[Path], object]] = [
    flip, lambda path: path.write_bytes(path.read_bytes()[:100]), lambda path: path.write_bytes(b""),
]  # fmt: skip


@pytest.mark.parametrize("harm", HARMS, ids=["bit_flipped", "cut_short", "empty"])
@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_p19_a_damaged_backup_gives_way_to_the_one_before_or_stops(
    tmp_path: Path, suffix: str, harm: Callable[[Path], object]
) -> None:
    said = backups(tmp_path, 4, 5)
    harm(tmp_path / f"epoch_00005{suffix}")
    found = Backup(tmp_path, "key", say=said.append).load()
    assert found is not None and found.epoch == 4
    assert said[0].startswith("backup epoch_00005 is cut short or damaged") and "after epoch 4" in said[1]
    harm(tmp_path / f"epoch_00004{suffix}")
    with pytest.raises(StudyError, match=r"all backups of this fit are damaged .*remove .* and repeat") as caught:
        Backup(tmp_path, "key", say=said.append).load()
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 500


def test_p19_a_lost_record_is_told_and_the_backup_before_is_used(tmp_path: Path) -> None:
    said = backups(tmp_path, 4, 5)
    (tmp_path / "epoch_00005.json").unlink()
    found = Backup(tmp_path, "key", say=said.append).load()
    assert found is not None and found.epoch == 4 and "FileNotFoundError" in said[0]


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [sys.argv[3], sys.argv[3] + "/tests"]
from bonescan_utils import backup, files
from test_backup import backups, saved
at, steps = int(sys.argv[2]), 0
def count(event, arguments):
    global steps
    if event in ("open", "os.rename", "os.remove") and sys.argv[1] in str(arguments[0]):
        steps += 1
        if steps == at:
            os.kill(os.getpid(), signal.SIGKILL)
backups(Path(sys.argv[1]), 1, 2)
sys.addaudithook(count)
backups(Path(sys.argv[1]), 3)
"""


@pytest.mark.slow
def test_p19_a_kill_at_any_moment_of_a_backup_leaves_one_that_is_whole(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[1])
    seen = set()
    for at in range(1, 40):
        folder = tmp_path / str(at)
        done = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(at), root], check=False)
        found = Backup(folder, "key", say=[].append).load()
        assert found is not None and found.epoch in (2, 3)
        seen.add(found.epoch)
        if done.returncode == 0:
            break
        assert done.returncode == -9
    assert done.returncode == 0 and seen == {2, 3}
