"""The sanity checks on a model that finds bright spots: what it must show is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import make_scan
from spot_model import save_spot_model

from bonescan_utils import label_randomisation, phantom
from bonescan_utils.count_noise import count_noise_scores
from bonescan_utils.counterfactuals import counterfactual_rows, counterfactual_scores
from bonescan_utils.deletion import SHARES, deletion_curves, deletion_gains
from bonescan_utils.explanation import explain
from bonescan_utils.label_randomisation import shuffled_label_model
from bonescan_utils.models import load_model
from bonescan_utils.randomisation import randomisation_scores, randomised_models
from bonescan_utils.sanity import SanityError

SCANS = [make_scan(f"s{i}", seed=i, hot=True) for i in range(3)]
VIEWS = {"layout": "side_by_side"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_spot_model(tmp_path_factory.mktemp("model") / "spot.keras")


def _weights(path: Path) -> dict[str, np.ndarray]:
    return {f"{layer.name}/{w.name}": np.asarray(w) for layer in load_model(path).layers for w in layer.weights}


def truth() -> dict[str, dict[str, np.ndarray]]:
    return {s.scan_id: {v.name: v.counts > 200 for v in s.views} for s in SCANS}


def test_weights_become_random_from_the_score_down(model: Path, tmp_path: Path) -> None:
    found = randomised_models(model, tmp_path, seed=3)
    assert list(found) == ["score", "standardise", "hidden", "first"]
    before, shallow, deep = (_weights(path) for path in (model, found["score"][1], found["first"][1]))
    assert {name for name in before if not np.array_equal(before[name], shallow[name])} == {
        "score/kernel",
        "score/bias",
    }
    same = {name for name in before if np.array_equal(before[name], deep[name])}
    zeros = {name for name, weight in before.items() if not weight.any()}  # noise of no strength
    assert same == zeros | {"standardise/moving_mean", "standardise/moving_variance"}
    again = randomised_models(model, tmp_path / "again", seed=3)
    for name, weight in _weights(again["first"][1]).items():
        np.testing.assert_array_equal(weight, deep[name])
    assert len(randomised_models(model, tmp_path / "few", max_depths=2)) == 2


def test_the_trained_map_points_at_the_spot_and_correlates_with_itself(model: Path, tmp_path: Path) -> None:
    table = randomisation_scores(model, SCANS, truth(), folder=tmp_path, max_depths=2, **VIEWS)
    trained = table[table["depth"] == "trained"]
    assert trained["correlation"].tolist() == pytest.approx([1, 1, 1]) and trained["peak_inside"].eq(1).all()
    assert table["layers"].tolist() == [0] * 3 + [1] * 3 + [4] * 3
    none = randomisation_scores(model, SCANS[:1], {}, folder=tmp_path, max_depths=1, **VIEWS)
    assert none["peak_inside"].isna().all()


def test_labels_are_shuffled_within_each_partition(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    used: list[np.ndarray] = []
    monkeypatch.setattr(label_randomisation, "fit", lambda arm, store, labels, parts, **_: used.append(labels))
    monkeypatch.setattr(label_randomisation, "assemble", lambda fitted: None)
    monkeypatch.setattr(label_randomisation, "save_model", lambda model, path, fitted: path)
    labels, parts = np.arange(30) % 2, np.repeat(["train", "tuning", "test"], 10)
    shuffled_label_model(tmp_path / "m.keras", None, None, labels, parts, seed=1)  # type: ignore[arg-type]
    assert [used[0][parts == p].sum() for p in ("train", "tuning", "test")] == [5, 5, 5]
    assert not np.array_equal(used[0][:10], labels[:10]) and np.array_equal(used[0][20:], labels[20:])
    assert np.array_equal(labels, np.arange(30) % 2), "the caller's labels stay"


def test_deleting_the_spot_lowers_the_score_first(model: Path) -> None:
    explained = explain(model, SCANS, **VIEWS)
    curves = deletion_curves(model, explained, seed=1)
    assert len(curves) == 3 * 4 * len(SHARES)
    ends = curves.pivot(index=["scan_id", "test", "order"], columns="share", values="y_score")
    own = ends.index.get_level_values("scan_id").map({e.scan.scan_id: e.y_score for e in explained})
    deletion = ends.index.get_level_values("test") == "deletion"
    np.testing.assert_allclose(np.where(deletion, ends[0.0], ends[1.0]), own, atol=1e-4)
    assert (np.where(deletion, ends[1.0], ends[0.0]) < own).all()
    gains = deletion_gains(curves)
    assert (gains["gain"] > 0).all() and len(gains) == 6


def test_areas_and_gains_by_hand() -> None:
    share = [0.0, 0.5, 1.0]
    curves = pd.DataFrame({"scan_id": "a", "test": "deletion", "order": ["map"] * 3 + ["random"] * 3})
    curves = curves.assign(share=share * 2, y_score=[1, 0, 0, 1, 0.5, 0])
    (row,) = deletion_gains(curves).itertuples()
    assert (row.area_map, row.area_random, row.gain) == pytest.approx((0.25, 0.5, 0.25))


def test_the_same_counts_give_the_same_map(model: Path) -> None:
    explained = explain(model, SCANS[:2], **VIEWS)
    same = count_noise_scores(model, explained, percent=100, draws=1, **VIEWS)
    assert same["correlation"].tolist() == pytest.approx([1, 1])
    half = count_noise_scores(model, explained, percent=50, draws=2, **VIEWS)
    assert len(half) == 4 and half["correlation"].between(0.5, 1).all() and half["correlation"].min() < 1
    assert half["score_after"].nunique() == 4


def test_removing_lesions_takes_the_map_away(model: Path) -> None:
    rows = pd.DataFrame({"scan_id": ["x"], "patient_id": ["p"], "phantom_seed": ["5"], "phantom_index": ["10"]})
    (row,) = counterfactual_scores(model, rows, "removed", **VIEWS).itertuples()
    (own,) = explain(model, [phantom.make_scan(5, 10).scan], **VIEWS)
    assert row.score_before == pytest.approx(own.y_score, abs=1e-5) and row.patient_id == "p"
    assert row.energy_after < row.energy_before and row.score_after < row.score_before
    with pytest.raises(SanityError, match=r"1 of 1 scans are no phantoms.*x"):
        counterfactual_scores(model, rows.assign(phantom_seed="", phantom_index=""), "removed", **VIEWS)
    with pytest.raises(SanityError, match="'moved'"):
        counterfactual_scores(model, rows, "moved", **VIEWS)


def test_counterfactuals_are_drawn_from_the_scans_the_arm_was_right_about() -> None:
    cohort = pd.DataFrame({"scan_id": [f"s{i}" for i in range(40)]})
    scores = cohort.assign(arm="a", partition="test", y_true=np.arange(40) % 2, y_score=np.arange(40) // 2 % 2 * 0.8)
    scores.loc[:9, "partition"] = "train"
    right = scores[(scores["partition"] == "test")].set_index("scan_id")
    for change, label in (("removed", 1), ("inserted", 0)):
        drawn = counterfactual_rows(scores, cohort, arm="a", threshold=0.5, change=change, n=99)
        assert (right.loc[drawn["scan_id"], "y_true"] == label).all() and len(drawn) == len(set(drawn["scan_id"])) > 5
        assert ((right.loc[drawn["scan_id"], "y_score"] >= 0.5) == bool(label)).all()
        assert len(counterfactual_rows(scores, cohort, arm="a", threshold=0.5, change=change, n=3)) == 3
