"""Degenerate input: every table says why a number does not exist, or refuses the input in one line."""

import numpy as np
import pandas as pd
import pytest
from test_evaluation import make_predictions

from bonescan_utils import (
    calibration,
    crossval,
    decision,
    evaluation,
    failures,
    operating_points,
    recalibration,
    subgroups,
)
from bonescan_utils.reporting.readable import methods_sentence, readable

N_BOOT = 100
THRESHOLDS = {"proposed": 0.5, "vgg16": 0.5}


def of_subgroups(predictions):
    scans = predictions.drop_duplicates("scan_id")["scan_id"]
    groups = pd.DataFrame({"sex": np.where(np.arange(len(scans)) % 4 < 2, "F", "M")}, index=scans.to_numpy())
    return subgroups.subgroup_table(predictions, THRESHOLDS, groups, min_scans=1, n_boot=N_BOOT)


def by_sex(predictions):
    scans = predictions.drop_duplicates("scan_id")["scan_id"]
    groups = pd.Series(np.where(np.arange(len(scans)) % 4 < 2, "F", "M"), index=scans.to_numpy())
    return evaluation.auroc_by_group(predictions, groups, against="same", min_scans=1, n_boot=N_BOOT)


def of_folds(predictions):
    """Scores as of two folds, all called at one threshold."""
    fold = predictions["scan_id"].str[1:].astype(int) // 2 % 2
    found = predictions.assign(fold=fold, repeat=0, threshold=0.5, y_pred=(predictions["y_score"] >= 0.5).astype(int))
    return crossval.fold_table(found, n_boot=N_BOOT)


def recalibrated(predictions):
    tuning = predictions.assign(scan_id=predictions["scan_id"] + "t", partition="tuning")
    return recalibration.recalibrate(pd.concat([predictions, tuning]))


TABLES = {
    "metrics": lambda p: evaluation.metrics_table(p, THRESHOLDS, seed=0, n_boot=N_BOOT),
    "paired": lambda p: evaluation.paired_tests(p, THRESHOLDS, reference=None, n_boot=N_BOOT),
    "fixed points": lambda p: operating_points.fixed_points_table(p, seed=0, n_boot=N_BOOT),
    "predictive values": lambda p: operating_points.predictive_values_table(p, THRESHOLDS, n_boot=N_BOOT),
    "ROC band": lambda p: operating_points.roc_band_table(p, seed=0, points=5, n_boot=N_BOOT),
    "calibration": lambda p: calibration.calibration_metrics(p, seed=0, n_boot=N_BOOT),
    "net benefit": lambda p: decision.net_benefit_table(p, seed=0, at=[0.2, 0.5], n_boot=N_BOOT),
    "recalibration": recalibrated,
}
OF_ANY_LABELS = {
    "reliability": lambda p: calibration.calibration_table(p, n_boot=N_BOOT),
    "subgroups": of_subgroups,
    "failures": lambda p: failures.reason_table(p, THRESHOLDS, "proposed", n_boot=N_BOOT),
    "groups": by_sex,
}
EVERY = TABLES | OF_ANY_LABELS


def check_told(table):
    """Every row with a missing number says why; where there is a number, its interval is there too."""
    value = "difference" if "difference" in table else "observed" if "observed" in table else "estimate"
    if value not in table:
        assert table["y_score"].between(0, 1).all()
        return
    missing = table[[value, "ci_low", "ci_high"]].isna().any(axis=1)
    reasons = table[missing][[name for name in ("method", "note") if name in table]].astype(str)
    told = reasons.apply(
        lambda row: any(any(word in text for word in ("undefined", "too few", "no p-value")) for text in row), axis=1
    )
    assert told.all() if missing.any() else True, table[missing]
    assert table[~missing]["ci_low"].le(table[~missing][value] + 1e-12).all()
    assert table[~missing]["ci_high"].ge(table[~missing][value] - 1e-12).all()


@pytest.mark.parametrize("scans_per_patient", [1, 2])
@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kind", ["constant", "perfect", "inverted", "two scans", "all called", "none called"])
def test_what_does_not_exist_is_told(kind, name, scans_per_patient):
    predictions = make_predictions(2 if kind == "two scans" else 24, scans_per_patient=scans_per_patient)
    y_true = predictions["y_true"]
    change = {
        "constant": 0.5, "perfect": 0.1 + 0.8 * y_true, "inverted": 0.9 - 0.8 * y_true,
        "all called": 0.5 + predictions["y_score"] / 2, "none called": predictions["y_score"] * 0.49,
    }  # fmt: skip
    check_told(EVERY[name](predictions.assign(y_score=change.get(kind, predictions["y_score"]))))


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("n", [1, 12])
@pytest.mark.parametrize("name", TABLES)
def test_one_label_is_refused(name, n, label):
    with pytest.raises(
        ValueError, match=f"undefined: it needs scans of both labels, found {n} scans, all with metastasis = {label}"
    ):
        TABLES[name](make_predictions(n).assign(y_true=label))


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("name", OF_ANY_LABELS)
def test_tables_that_one_label_suffices_for(name, label):
    check_told(OF_ANY_LABELS[name](make_predictions(12).assign(y_true=label)))


@pytest.mark.parametrize("name", EVERY)
def test_bad_scores_are_refused(name):
    for value in (np.nan, np.inf, -0.1):
        predictions = make_predictions(12)
        predictions.loc[3, "y_score"] = value
        with pytest.raises(ValueError, match=r"y_score must be within 0-1, got .*\(scan s0003t?, arm proposed\)"):
            EVERY[name](predictions)


def test_arms_of_other_scans_are_not_compared():
    predictions = make_predictions(12)
    other = predictions.assign(
        scan_id=np.where(predictions["arm"] == "vgg16", predictions["scan_id"] + "x", predictions["scan_id"])
    )
    with pytest.raises(ValueError, match="must score the same scans to be compared; 24 differ"):
        TABLES["paired"](other)


@pytest.mark.parametrize("scans_per_patient", [1, 2])
def test_folds_say_what_does_not_exist(scans_per_patient):
    predictions = make_predictions(24, scans_per_patient=scans_per_patient)
    for change in (0.5, 0.1 + 0.8 * predictions["y_true"], predictions["y_score"]):
        check_told(of_folds(predictions.assign(y_score=change)))
    check_told(of_folds(predictions.assign(y_true=1)))


@pytest.mark.parametrize("name", EVERY)
def test_what_is_printed_of_it_holds_no_nan(name):
    predictions = make_predictions(24)
    table = EVERY[name](predictions.assign(y_score=0.5))
    printed = readable(table).to_string().lower()
    assert "nan" not in printed.replace("resonance", "")
    if "metric" in table and (absent := table[table["estimate"].isna()])["method"].notna().any():
        reason = absent["method"].str.removeprefix("undefined: ").iloc[0]
        assert reason in methods_sentence(table)
