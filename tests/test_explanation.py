"""Choosing examples, and scoring saliency against lesions, on maps made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from conftest import make_scan

from bonescan_utils.explanation import (
    Explained,
    choose_examples,
    lesion_mask,
    overlay_cases,
    saliency_shares,
    summarise_shares,
)
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


def test_an_even_map_holds_what_chance_gives(explained: Explained) -> None:
    truth = {"s1": masks(slice(40, 60), slice(10, 20))}
    (row,) = saliency_shares([explained], truth).itertuples()
    inside = lesion_mask(explained.prepared, truth["s1"])
    assert row.share_inside == pytest.approx(inside.sum() / inside.size)
    panels = sum(p.panel[2] * p.panel[3] for p in explained.prepared.placements.values())
    assert row.share_of_area == pytest.approx(inside.sum() / panels) and row.ratio <= 1.001


def test_a_map_on_the_lesion_lies_inside(explained: Explained) -> None:
    truth = {"s1": masks(slice(40, 60), slice(10, 20))}
    inside = lesion_mask(explained.prepared, truth["s1"]).astype(np.float32)
    on_it = Explained(explained.scan, explained.prepared, 0.9, inside, 1.0)
    (row,) = saliency_shares([on_it], truth).itertuples()
    assert row.share_inside == 1 and row.peak_inside and row.ratio > 5
    table = summarise_shares(saliency_shares([on_it], truth), pd.Series({"s1": "1-2"}))
    assert table.loc[0, ["visible_lesions", "scans", "peak_inside"]].tolist() == ["1-2", 1, 1.0]


def test_scans_without_lesions_or_truth_are_left_out(explained: Explained) -> None:
    empty = masks(slice(0, 0), slice(0, 0))
    assert saliency_shares([explained], {"s1": empty}).empty and saliency_shares([explained], {}).empty
    assert summarise_shares(saliency_shares([explained], {}), pd.Series({"s1": "0"})).empty


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
