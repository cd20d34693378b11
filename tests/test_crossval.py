"""Out-of-fold scores: every scan once, thresholds from the fold's own tuning part, numbers against references."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from bonescan_utils.crossval import fold_table, out_of_fold, pooled_metrics, pooled_tests, spread_table
from bonescan_utils.evaluation import choose_threshold
from bonescan_utils.partitions import assign_folds, fold_partitions
from bonescan_utils.problems import ManifestError

N, FOLDS = 60, 3


def make_fits(arms: tuple[str, ...] = ("a", "b"), *, repeats: int = 1) -> list[tuple[int, int, pd.DataFrame]]:
    """Scores of fabricated fits; arm `a` is better than `b`."""
    labels = np.arange(N) % 2
    scans = pd.DataFrame({"scan_id": [f"{i:04d}" for i in range(N)], "patient_id": [f"p{i}" for i in range(N)]})
    made = []
    for number, arm in enumerate(arms):
        for repeat in range(repeats):
            rng = np.random.default_rng([number, repeat])
            for fold in range(FOLDS):
                score = 1 / (1 + np.exp(-(labels * (2.0 - number) + rng.normal(size=N) + fold)))
                part = np.where(np.arange(N) // 2 % FOLDS == fold, "test", "train").astype(object)
                part[(part == "train") & (np.arange(N) % 5 < 2)] = "tuning"
                table = scans.assign(arm=arm, partition=part, y_true=labels, y_score=score)
                made.append((fold, repeat, table[part != "train"]))
    return made


def make_cohort(n: int = 120) -> pd.DataFrame:
    rows = range(n)
    return pd.DataFrame(
        {
            "scan_id": [f"s{i:04d}" for i in rows],
            "patient_id": [f"p{i // 2:04d}" for i in rows],
            "metastasis": [i // 2 % 2 for i in rows],
            "primary_cancer": [("breast", "lung", "prostate")[i // 4 % 3] for i in rows],
        }
    )


def test_each_scan_is_scored_once_and_called_at_its_folds_threshold() -> None:
    fits = make_fits()
    found = out_of_fold(fits)
    assert len(found) == 2 * N and not found.duplicated(["arm", "scan_id"]).any()
    for fold, _, table in fits[:FOLDS]:
        tuning = table[table["partition"] == "tuning"]
        expected = choose_threshold(tuning["y_true"], tuning["y_score"])
        mine = found[(found["arm"] == "a") & (found["fold"] == fold)]
        assert (mine["threshold"] == expected).all()
        assert (mine["y_pred"] == (mine["y_score"] >= expected)).all()


def test_a_missing_or_doubled_fold_is_not_evaluated() -> None:
    fits = make_fits()
    with pytest.raises(ValueError, match="a fold is missing"):
        out_of_fold(fits[1:])
    with pytest.raises(ValueError, match="is in two folds"):
        out_of_fold([*fits, fits[0]])


def test_pooled_numbers_are_those_of_sklearn_and_of_counting() -> None:
    found = out_of_fold(make_fits())
    table = pooled_metrics(found, seed=1, n_boot=200).set_index(["arm", "metric"])
    for arm, part in found.groupby("arm"):
        expected = roc_auc_score(part["y_true"], part["y_score"])
        assert table.loc[(arm, "AUROC"), "estimate"] == pytest.approx(expected)
        right = (part["y_pred"] == part["y_true"]).mean()
        assert table.loc[(arm, "accuracy"), "estimate"] == pytest.approx(right)
        positive = part[part["y_true"] == 1]
        assert table.loc[(arm, "sensitivity"), "estimate"] == pytest.approx(positive["y_pred"].mean())
        assert table.loc[(arm, "Brier"), "estimate"] == pytest.approx(((part["y_score"] - part["y_true"]) ** 2).mean())
    (test,) = pooled_tests(found, reference="a", seed=1, n_boot=200).to_dict("records")
    assert test["arm_b"] == "b" and test["quantity"] == "AUROC" and 0 < test["p"] < 1


def test_folds_and_repetitions_are_spread_apart() -> None:
    found = out_of_fold(make_fits(("a",), repeats=3))
    folds = fold_table(found)
    assert len(folds) == 9
    part = found[(found["fold"] == 2) & (found["repeat"] == 1)]
    row = folds[(folds["fold"] == 2) & (folds["repeat"] == 1)].iloc[0]
    assert row["estimate"] == pytest.approx(roc_auc_score(part["y_true"], part["y_score"]))
    (spread,) = spread_table(found).to_dict("records")
    first = folds[folds["repeat"] == 0]["estimate"]
    assert spread["fold_mean"] == pytest.approx(first.mean()) and spread["fold_sd"] == pytest.approx(first.std())
    pooled = [roc_auc_score(p["y_true"], p["y_score"]) for _, p in found.groupby("repeat")]
    assert spread["pooled_sd"] == pytest.approx(np.std(pooled, ddof=1))
    (single,) = spread_table(out_of_fold(make_fits(("a",)))).to_dict("records")
    assert np.isnan(single["pooled_sd"]), "one training has no spread"


def test_without_folds_all_tables_are_empty() -> None:
    none = out_of_fold([])
    assert none.empty and fold_table(none).empty and spread_table(none).empty
    assert pooled_metrics(none, seed=1).empty and pooled_tests(none, reference="a", seed=1).empty


def test_folds_keep_patients_together_and_labels_even() -> None:
    cohort = make_cohort()
    folds = assign_folds(cohort, folds=5, seed=3)
    assert set(folds) == set(range(5))
    assert (folds.groupby(cohort["patient_id"]).nunique() == 1).all()
    assert cohort["metastasis"].groupby(folds).mean().between(0.4, 0.6).all()
    shuffled = cohort.sample(frac=1, random_state=0)
    pd.testing.assert_series_equal(assign_folds(shuffled, folds=5, seed=3).sort_index(), folds)


@pytest.mark.parametrize("repeat", [0, 1])
def test_a_folds_tuning_part_is_cut_from_its_training_part(repeat: int) -> None:
    cohort = make_cohort()
    folds = assign_folds(cohort, folds=5, seed=3)
    cuts = [fold_partitions(cohort, folds=5, fold=k, seed=3, repeat=repeat) for k in range(5)]
    for k, cut in enumerate(cuts):
        assert ((cut == "test") == (folds == k)).all(), "another repetition must leave the folds as they are"
        assert (cut.groupby(cohort["patient_id"]).nunique() == 1).all()
        assert 0.05 < (cut == "tuning").mean() < 0.2 and set(cohort.loc[cut == "tuning", "metastasis"]) == {0, 1}
    other = fold_partitions(cohort, folds=5, fold=0, seed=3, repeat=repeat + 1)
    assert (other != cuts[0]).any()


def test_too_many_folds_are_refused() -> None:
    with pytest.raises(ManifestError, match="for 40 folds"):
        assign_folds(make_cohort(), folds=40, seed=1)
    with pytest.raises(ValueError, match="expected 2 or more"):
        assign_folds(make_cohort(), folds=1, seed=1)
    with pytest.raises(ValueError, match="expected 0 to 4"):
        fold_partitions(make_cohort(), folds=5, fold=5, seed=1)


def test_a_fold_of_patients_with_several_scans_is_bootstrapped_and_one_of_one_label_says_so() -> None:
    found = out_of_fold(make_fits(("a",)))
    pairs = found.assign(patient_id=found["scan_id"].astype(int).floordiv(2).astype(str))
    table = fold_table(pairs, n_boot=100)
    assert table["method"].str.startswith("patient bootstrap").all()
    assert table["estimate"].tolist() == pytest.approx(fold_table(found)["estimate"].tolist())
    alone = found[(found["fold"] > 0) | (found["y_true"] == 1)]
    row = fold_table(alone).iloc[0]
    assert np.isnan(row["estimate"]) and row["method"] == "undefined: scans of one label only"
