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
    equal_protocol_table,
    equal_protocols,
    paper_arms,
    train_arms,
    weights_of,
    weights_table,
)
from bonescan_utils.image_store import build_store
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
    build_store(used, small.root, found.path("store"), copies=1, seed=1, size=(64, 64), n_jobs=1, progress=False)
    return found


def train(run: Run, names: list[str], *, seed: int = 1) -> list:
    return train_arms(run, names, seed=seed, weights="random", copies=1, epochs=1)


def test_an_arm_is_trained_once_and_kept(run: Run) -> None:
    first = train(run, ["proposed", "vgg16"])
    again = train(run, ["vgg16", "proposed", "vgg16"])
    assert [arm.reused for arm in first] == [False, False] and [arm.reused for arm in again] == [True, True]
    pd.testing.assert_frame_equal(all_predictions(first), all_predictions(again[::-1]))
    assert weights_of(again) == {"vgg16": "random", "proposed": "random"}
    table = weights_table(run, first)
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


def test_arms_of_the_paper_and_of_the_equal_protocol() -> None:
    arms = ["proposed", "vgg16", "vgg16_finetuned", "xception_finetuned"]
    predictions = pd.DataFrame({"arm": arms})
    assert paper_arms(predictions, "proposed")["arm"].tolist() == ["proposed", "vgg16"]
    assert paper_arms(predictions, "vgg16_finetuned")["arm"].tolist() == ["vgg16", "vgg16_finetuned"]
    groups = equal_protocols(predictions)
    assert {name: group["arm"].tolist() for name, group in groups.items()} == {"finetuned": arms[2:]}
    assert not equal_protocols(predictions[:3])


def test_backbones_of_one_protocol_are_compared_among_themselves() -> None:
    arms = ["proposed", "resnet50_multilevel", "vgg16_finetuned", "vgg16", "xception_finetuned"]
    predictions, thresholds = make_predictions(40, arms=arms), dict.fromkeys(arms, 0.5)
    weights = dict.fromkeys(arms, "imagenet")
    metrics = metrics_table(predictions, thresholds, seed=0, n_boot=100)
    options = {"metrics": metrics, "weights": weights, "seed": 0, "n_boot": 100}
    table = equal_protocol_table(predictions, thresholds, **options)
    assert table["Protocol"].tolist() == ["finetuned"] * 2 + ["multilevel"] * 2
    assert table["Arm"].tolist()[:3] == ["VGG16 fine-tuned", "Xception fine-tuned", "Proposed"]
    assert (table["AUROC difference"] == "reference").tolist() == [True, False, True, False]
    assert equal_protocol_table(predictions[predictions["arm"] == "vgg16"], thresholds, **options).empty


def test_a_run_without_a_store_says_what_to_run_first(tmp_path: Path) -> None:
    from bonescan_utils.profiles import StudyError

    with pytest.raises(StudyError, match="run 02_preprocessing"):
        train(open_run(tmp_path, "03_vgg16_transfer"), ["vgg16"])
