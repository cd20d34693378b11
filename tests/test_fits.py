"""Fits as pieces of work: the same on a cluster as here; finished ones are kept whatever happens to the others."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_cohort

from bonescan_utils import fits
from bonescan_utils.backup import Backup, Saved
from bonescan_utils.cohort import ingest
from bonescan_utils.files import write_csv
from bonescan_utils.fits import Fit, complete, with_keys
from bonescan_utils.image_store import build_store
from bonescan_utils.transfer import FitError
from bonescan_utils.workers import SCHEDULER_VARIABLE, WorkerError

PARTITIONS = ["train"] * 8 + ["tuning"] * 4 + ["test"] * 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of 16 fabricated scans of 64 x 64 pixels, as notebooks 01 and 02 leave it."""
    small, found = make_cohort(tmp_path_factory.mktemp("data"), n=16), tmp_path_factory.mktemp("run")
    used = ingest(small.df, small.root, n_jobs=1, progress=False).used.assign(partition=PARTITIONS)
    write_csv(found / "cohort.csv", used)
    size = (64, 64)
    build_store(used, small.root, found / "store", copies=1, copies_of_all=True, size=size, n_jobs=1, progress=False)
    return found


def planned(folder: Path) -> list[Fit]:
    common = {"folder": str(folder), "seed": 3, "weights": "random", "copies": 1, "epochs": 1}
    folded = [Fit(arm=arm, folds=2, fold=fold, **common) for arm in ("proposed", "vgg16") for fold in (0, 1)]
    return with_keys([Fit(arm="proposed", **common), *folded])


def scores(made: list[Fit]) -> pd.DataFrame:
    return pd.concat([each.scores().assign(name=each.name) for each in made], ignore_index=True)


def test_a_cluster_gives_the_scores_of_one_process(
    folder: Path, cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = planned(folder)
    assert complete(here, progress=False) == [False] * 5
    for name in ("cohort.csv", "store"):
        source = folder / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    monkeypatch.setenv(SCHEDULER_VARIABLE, cluster.scheduler_address)
    there = planned(tmp_path)
    assert [each.key for each in there] == [each.key for each in here], "a key must not depend on the folder"
    assert complete(there, progress=False) == [False] * 5
    pd.testing.assert_frame_equal(scores(there), scores(here), atol=1e-3)
    assert {p.name for p in (tmp_path / "features").iterdir()} == {p.name for p in (folder / "features").iterdir()}
    assert complete(there, progress=False) == [True] * 5, "finished work is not repeated"


def test_a_fit_that_fails_is_named_and_the_others_are_kept(
    folder: Path, cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SCHEDULER_VARIABLE, cluster.scheduler_address)
    common = {"folder": str(folder), "seed": 4, "weights": "random", "folds": 2}
    good, bad = with_keys([Fit(arm="vgg16", **common), Fit(arm="proposed", fold=1, **common)])
    bad = replace(bad, fold=5)  # there is no such fold
    with pytest.raises(WorkerError, match=r"(?s)task proposed, fold 6 of 2: ValueError: fold is 5.*finished is kept"):
        complete([good, bad], progress=False)
    assert good.done and not bad.done


def test_a_fit_cut_short_is_done_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (task,) = with_keys([Fit(folder=str(folder), arm="vgg16", seed=5, weights="random", folds=2)])

    def interrupted(path: Path, record: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fits, "write_sealed", interrupted)
        with pytest.raises(KeyboardInterrupt):
            complete([task], progress=False)
    assert (task.place / "predictions.csv").exists() and not task.done
    assert complete([task], progress=False) == [False] and task.done


def test_p19_a_fit_killed_after_an_epoch_goes_on_to_the_same_weights(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    arm = replace(planned(folder)[0].settings, epochs=3, patience=0)
    cohort, store = fits._cohort(folder), fits.open_store(folder / "store")
    source = planned(folder)[0].source()
    found = fits.features(store, arm, source=source, out_dir=folder / "features", progress=False)
    labels, partitions = cohort["metastasis"].to_numpy(), cohort["partition"].to_numpy()

    def train(place: Path, *, stop: int) -> fits.Fitted | None:
        backup = Backup(place, "key", every_s=0, say=[].append)
        save = backup.save

        def save_and_stop(saved: Saved) -> None:
            save(saved)
            if saved.epoch == stop:
                raise Killed

        monkeypatch.setattr(backup, "save", save_and_stop)
        try:
            return fits.fit(arm, found, labels, partitions, seed=3, progress=False, backup=backup)
        except Killed:
            return None

    whole = train(folder / "whole", stop=0)
    assert whole is not None
    for epoch in (1, 2):
        assert train(folder / f"stopped{epoch}", stop=epoch) is None
        resumed = train(folder / f"stopped{epoch}", stop=0)
        assert resumed is not None
        pd.testing.assert_frame_equal(resumed.history, whole.history, check_exact=True)
        for a, b in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["predictions.csv", "history.csv", "record.json"])
def test_p19_a_fit_with_a_damaged_file_is_trained_again_and_that_is_said(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (task,) = with_keys([Fit(folder=str(folder), arm="vgg16", seed=6, weights="random", folds=2)])
    complete([task], progress=False)
    before = (task.place / "predictions.csv").read_bytes()
    path = task.place / name
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    assert not task.done and complete([task], progress=False) == [False]
    assert f"trained again, damaged: arms/vgg16/folds_2/0_0/{name}" in capsys.readouterr().out
    assert task.done and (task.place / "predictions.csv").read_bytes() == before


def test_the_key_changes_with_what_a_fit_depends_on(folder: Path) -> None:
    first = Fit(folder=str(folder), arm="vgg16", seed=1, weights="random", folds=2)
    others = [replace(first, seed=2), replace(first, fold=1), replace(first, repeat=1), replace(first, folds=0),
              replace(first, arm="proposed"), replace(first, weights="auto")]  # fmt: skip
    keys = [each.key for each in with_keys([first, *others])]
    assert len(set(keys)) == len(keys)


def test_a_part_with_one_label_is_an_error_of_the_user(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "store", tmp_path / "store")
    cohort = pd.read_csv(folder / "cohort.csv", dtype=str).fillna("")
    write_csv(tmp_path / "cohort.csv", cohort.assign(metastasis="1"))
    with pytest.raises(FitError, match="both 0 and 1 are needed"):
        complete(with_keys([Fit(folder=str(tmp_path), arm="vgg16", seed=1, weights="random")]), progress=False)
