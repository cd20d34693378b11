"""Whereabouts: paths are found again beside the run folder, and told nowhere else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from bonescan_utils.commands.rerun import MOVED
from bonescan_utils.whereabouts import (
    PATHS,
    machine_folders,
    read_whereabouts,
    recorded,
    recorded_command,
    relative,
    whereabouts_file,
    without_folders,
    write_whereabouts,
)

GIVEN = {"manifest": "cohort Kim/m.csv", "weights_dir": "", "boxes": "boxes of Kim/b.csv"}


def test_what_is_kept_comes_back_also_after_all_was_moved(tmp_path: Path) -> None:
    run, base = tmp_path / "here" / "reports" / "run", tmp_path / "here"
    write_whereabouts(run, {name: base / value if value else "" for name, value in GIVEN.items()} | {"seed": 1})
    assert read_whereabouts(run) == {name: base / value for name, value in GIVEN.items() if value}
    shutil.move(base, tmp_path / "there")
    moved = tmp_path / "there"
    assert read_whereabouts(moved / "reports" / "run")["manifest"] == moved / "cohort Kim" / "m.csv"
    assert not list((moved / "reports").glob("[!.]*")), "the file is hidden, and not in the run folder"


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"other": "x"}'])
def test_without_a_whole_file_nothing_is_known(tmp_path: Path, text: str) -> None:
    assert read_whereabouts(tmp_path / "run") == {}
    whereabouts_file(tmp_path / "run").write_text(text)
    assert read_whereabouts(tmp_path / "run") == {}


def test_on_another_drive_a_path_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_path(*_: Any) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", no_such_path)
    assert relative(tmp_path / "m.csv", tmp_path / "x") == (tmp_path / "m.csv").as_posix()


def test_a_record_holds_the_last_part_of_every_path() -> None:
    assert set(recorded(GIVEN).values()) == {"m.csv", "", "b.csv"}
    command = recorded_command(["run", "--manifest", "/home/Kim/m.csv", "-p", "boxes=/home/Kim/b.csv", "-p", "seed=1"])
    assert command == "bonescan run --manifest m.csv -p boxes=b.csv -p seed=1"
    assert set(MOVED) == set(PATHS)


def test_messages_tell_no_folder_whole_or_relative(tmp_path: Path) -> None:
    run, project = tmp_path / "reports" / "run", tmp_path / "project"
    write_whereabouts(run, {name: tmp_path / value for name, value in GIVEN.items() if value})
    given = {"boxes": "../../boxes of Kim/b.csv", "manifest": "../m.csv"}
    folders = machine_folders(project=project, run_dir=run, given=given)
    said = [f"{tmp_path}/boxes of Kim/b.csv, row 2", "../../boxes of Kim/b.csv: no", f"'{tmp_path}/cohort Kim/a.dcm'"]
    assert without_folders(said, folders) == ["<boxes>/b.csv, row 2", "b.csv: no", "'<data>/a.dcm'"]
    assert without_folders("../m.csv", folders) == "../m.csv", "beside the notebooks: it names no folder"
