"""Choosing examples, and scoring saliency against lesions, on maps made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import make_scan

from bonescan_utils.explanation import (
    Explained,
    choose_examples,
    localise,
    overlay_cases,
    tuned_thresholds,
)
from bonescan_utils.localisation import Truth, froc_table
from bonescan_utils.preprocessing import prepare


@pytest.fixture
def explained() -> Explained:
    scan = make_scan("s1")
    prepared = prepare(scan, size=(128, 64))
    return Explained(scan, prepared, 0.9, np.full((128, 64), 0.5, np.float32), 1.0)


def masks(rows: slice, columns: slice) -> dict[str, np.ndarray]:
    anterior = np.zeros((128, 32), bool)
    anterior[rows, columns] = True
    return {"anterior": anterior, "posterior": np.zeros((128, 32), bool)}


def test_examples_are_test_scans_by_outcome_spread_over_their_scores() -> None:
    scores = np.linspace(0, 1, 21)
    rows = pd.DataFrame({"scan_id": [f"s{i:02d}" for i in range(21)], "arm": "a", "partition": "test"})
    rows = rows.assign(y_true=[i % 2 for i in range(21)], y_score=scores)
    other = rows.assign(partition="train", scan_id="train_" + rows["scan_id"])
    chosen = choose_examples(pd.concat([rows, other]), "a", 0.5, n=3)
    assert chosen["outcome"].tolist() == ["Hit"] * 3 + ["Miss"] * 3 + ["False alarm"] * 3
    hits = chosen[chosen["outcome"] == "Hit"]
    assert hits["y_score"].max() == pytest.approx(0.95) and hits["y_score"].min() == pytest.approx(0.55)
    assert not chosen["scan_id"].str.startswith("train").any() and chosen["scan_id"].is_unique


def test_an_outcome_without_scans_is_left_out() -> None:
    rows = pd.DataFrame(
        {"scan_id": ["a", "b"], "arm": "x", "partition": "test", "y_true": [1, 0], "y_score": [0.9, 0.1]}
    )
    assert choose_examples(rows, "x", 0.5, n=3)["outcome"].tolist() == ["Hit"]


def test_maps_are_scored_beside_maps_that_know_nothing(explained: Explained) -> None:
    shape = explained.prepared.image.shape
    lesions = np.zeros(shape, np.uint8)
    lesions[20:24, 10:14] = 1
    none, body = np.zeros(shape, np.uint8), np.ones(shape, bool)
    truths = {"s1": Truth(lesions, none > 0, none, body)}
    on_it = Explained(explained.scan, explained.prepared, 0.9, (lesions > 0).astype(np.float32), 3.0)
    scores, marks = localise({"good": [on_it], "even": [explained]}, truths, thresholds={"good": 0.5})
    froc, rows = froc_table(marks), scores.set_index("map")
    assert list(rows.index) == ["good", "even", "random", "body", "counts", "contrast"]
    assert rows.loc["good", ["pointing", "energy", "dice", "lesions"]].tolist() == [1, 1, 1, 1]
    assert rows.loc["even", "energy"] == pytest.approx(16 / lesions.size) and np.isnan(rows.loc["even", "dice"])
    assert froc.set_index(["map", "false_foci"]).loc[("good", 0.5), "sensitivity"] == 1
    assert tuned_thresholds({"good": [on_it]}, truths)["good"] <= 1
    assert froc_table(localise({"even": [explained]}, {}).marks).empty, "without truth nothing is scored"


def test_overlays_are_in_counts_space(explained: Explained) -> None:
    truth = masks(slice(40, 60), slice(10, 20))
    (case,) = overlay_cases([explained], ["Hit"], truth={"s1": truth})
    assert {view: m.shape for view, m in case.saliency.items()} == {"anterior": (128, 32), "posterior": (128, 32)}
    assert case.truth["anterior"].sum() == 200 and "0.90" in case.title


def test_a_picture_shows_the_score_that_its_outcome_was_judged_by(explained: Explained) -> None:
    (case,) = overlay_cases([explained], ["Miss"], scores=[0.744])
    assert case.title.endswith("score 0.74")
    (own,) = overlay_cases([explained], ["Miss"])
    assert own.title.endswith(f"score {explained.y_score:.2f}")
