"""Training the arms of a run: what is kept, what is reused, what makes an arm stale."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from conftest import make_cohort
from test_evaluation import make_predictions

from bonescan_utils.cohort import ingest
from bonescan_utils.evaluation import metrics_table
from bonescan_utils.experiment import (
    all_predictions,
    check_saved,
    cross_validate,
    equal_protocol_table,
    equal_protocols,
    paper_arms,
    train_arms,
    weights_of,
    weights_table,
)
from bonescan_utils.image_store import build_store
from bonescan_utils.partitions import fold_partitions
from bonescan_utils.study import Run, open_run

PARTITIONS = ["train"] * 8 + ["tuning"] * 4 + ["test"] * 4


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of 16 fabricated scans of 64 x 64 pixels, as notebooks 01 and 02 leave it."""
    small = make_cohort(tmp_path_factory.mktemp("data"), n=16)
    used = ingest(small.df, small.root, n_jobs=1, progress=False).used.assign(partition=PARTITIONS)
    found = open_run(tmp_path_factory.mktemp("run"), "03_vgg16_transfer")
    found.csv(used, "cohort.csv")
    found.note_data(small.manifest, synthetic=False)
    size = (64, 64)
    build_store(
        used, small.root, found.path("store"), copies=1, copies_of_all=True, size=size, n_jobs=1, progress=False
    )
    return found


def train(run: Run, names: list[str], *, seed: int = 1) -> list:
    return train_arms(run, names, seed=seed, weights="random", copies=1, epochs=1)


def test_an_arm_is_trained_once_and_kept(run: Run) -> None:
    first = train(run, ["proposed", "vgg16"])
    again = train(run, ["vgg16", "proposed", "vgg16"])
    assert [arm.reused for arm in first] == [False, False] and [arm.reused for arm in again] == [True, True]
    pd.testing.assert_frame_equal(all_predictions(first), all_predictions(again[::-1]))
    assert weights_of(again) == {"vgg16": "random", "proposed": "random"}
    table = weights_table(first)
    assert table["arm"].tolist() == ["proposed", "vgg16"] and (table["md5"] == "").all()
    scores = all_predictions(first)
    assert len(scores) == 32 and scores["y_score"].between(0, 1).all()
    assert scores["scan_id"].tolist() == [*run.cohort["scan_id"]] * 2


def test_the_saved_model_gives_the_scores_of_the_training_run(run: Run) -> None:
    (arm,) = train(run, ["proposed"])
    check = check_saved(run, arm, n=5)
    assert len(check) == 5 and check["difference"].abs().max() < 0.02


def test_another_seed_or_a_lost_model_is_trained_again(run: Run) -> None:
    (arm,) = train(run, ["vgg16"])
    arm.model.unlink()
    assert [each.reused for each in train(run, ["vgg16"])] == [False]
    assert [each.reused for each in train(run, ["vgg16"], seed=2)] == [False]


def test_what_is_trained_is_listed(run: Run) -> None:
    train(run, ["vgg16"])
    listed = set(run.finish(seed=1)["path"])
    assert {"arms/vgg16/predictions.csv", "arms/vgg16/history.csv", "models/vgg16.keras"} <= listed


def cross(run: Run, names: list[str], **options: int) -> pd.DataFrame:
    return cross_validate(run, names, **{"folds": 2, "seed": 1, "epochs": 1, "copies": 1, **options}, weights="random")


def test_cross_validation_scores_every_scan_by_arms_that_never_saw_it(run: Run, capsys) -> None:
    found = cross(run, ["vgg16_multilevel", "vgg16"])
    assert found.groupby("arm")["scan_id"].nunique().to_dict() == {"vgg16_multilevel": 16, "vgg16": 16}
    cohort = run.cohort
    for fold in (0, 1):
        cut = fold_partitions(cohort, folds=2, fold=fold, seed=1)
        assert set(cut) == {"train", "tuning", "test"}
        mine = found[(found["fold"] == fold) & (found["arm"] == "vgg16")]
        assert set(mine["scan_id"]) == set(cohort.loc[cut == "test", "scan_id"])
    assert "4 fits: 0 were there, 4 done now" in capsys.readouterr().out


def test_another_fold_arm_or_repetition_costs_only_itself(run: Run, capsys) -> None:
    first = cross(run, ["vgg16_multilevel", "vgg16"])
    before = {path.name for path in run.path("features").iterdir()}
    again = cross(run, ["vgg16_multilevel", "vgg16", "proposed"], seeds=2)
    assert "12 fits: 4 were there, 8 done now" in capsys.readouterr().out
    kept = again[(again["repeat"] == 0) & again["arm"].isin(["vgg16_multilevel", "vgg16"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, first)
    pooled = {path.name for path in run.path("features").iterdir()}
    assert before <= pooled, "features of finished arms were computed again"
    moved = again[again["arm"] == "proposed"].pivot(index="scan_id", columns="repeat", values="y_score")
    assert (moved[0] != moved[1]).any(), "a repetition must train with a seed of its own"


def test_no_folds_no_rows(run: Run) -> None:
    assert cross(run, ["vgg16"], folds=0).empty


def test_arms_of_the_paper_and_of_the_equal_protocol() -> None:
    arms = ["proposed", "vgg16", "vgg16_finetuned", "xception_finetuned"]
    predictions = pd.DataFrame({"arm": arms})
    assert paper_arms(predictions, "proposed")["arm"].tolist() == ["proposed", "vgg16"]
    assert paper_arms(predictions, "vgg16_finetuned")["arm"].tolist() == ["vgg16", "vgg16_finetuned"]
    groups = equal_protocols(predictions)
    assert {name: group["arm"].tolist() for name, group in groups.items()} == {"finetuned": arms[2:]}
    assert not equal_protocols(predictions[:3])


def test_backbones_of_one_protocol_are_compared_among_themselves() -> None:
    arms = ["proposed", "resnet50_local", "vgg16_finetuned", "vgg16", "xception_finetuned"]
    predictions, thresholds = make_predictions(40, arms=arms), dict.fromkeys(arms, 0.5)
    weights = dict.fromkeys(arms, "imagenet")
    metrics = metrics_table(predictions, thresholds, seed=0, n_boot=100)
    options = {"metrics": metrics, "weights": weights, "seed": 0, "n_boot": 100}
    table = equal_protocol_table(predictions, thresholds, **options)
    assert table["Protocol"].tolist() == ["finetuned"] * 2 + ["local"] * 2
    assert table["Arm"].tolist()[:3] == ["VGG16 fine-tuned", "Xception fine-tuned", "Proposed"]
    assert (table["AUROC difference"] == "reference").tolist() == [True, False, True, False]
    assert equal_protocol_table(predictions[predictions["arm"] == "vgg16"], thresholds, **options).empty


def test_a_run_without_a_store_says_what_to_run_first(tmp_path: Path) -> None:
    from bonescan_utils.profiles import StudyError

    with pytest.raises(StudyError, match="run 02_preprocessing"):
        train(open_run(tmp_path, "03_vgg16_transfer"), ["vgg16"])
