"""Groups: AUROC by lesion count, sex and the like."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk
from test_evaluation import make_predictions, row_of

from bonescan_utils import evaluation


def lesion_bands(predictions, bands):
    """Lesion count bands for the positive scans in turn, '' for the others."""
    scans = predictions.drop_duplicates("scan_id").set_index("scan_id")["y_true"]
    return pd.Series([bands[i // 2 % len(bands)] if y else "" for i, y in enumerate(scans)], index=scans.index)


def test_lesion_bands_are_set_against_all_negative_scans():
    predictions = make_predictions(80, arms=["a"])
    groups = lesion_bands(predictions, [">=7", "1-2", "3-6", "3-6"])
    table = evaluation.auroc_by_group(predictions, groups, min_scans=5)
    assert table["group"].tolist() == ["1-2", "3-6", ">=7"]
    assert table["n"].tolist() == [50, 60, 50] and table["n_positive"].tolist() == [10, 20, 10]
    band = predictions["scan_id"].map(groups)
    part = predictions[(predictions["y_true"] == 0) | (band == "1-2")]
    expected = sk.roc_auc_score(part["y_true"], part["y_score"])
    assert row_of(table, group="1-2")["estimate"] == pytest.approx(expected)


def test_small_groups_get_no_number():
    predictions = make_predictions(40, arms=["a"])
    table = evaluation.auroc_by_group(predictions, lesion_bands(predictions, ["1-2"] * 9 + ["3-6"]))
    row = row_of(table, group="3-6")
    assert row["note"] == "too few to say" and np.isnan(row["estimate"])
    assert row_of(table, group="1-2")["note"] == ""


def test_groups_of_both_labels_and_unknown():
    predictions = make_predictions(60, arms=["a"])
    scans = predictions["scan_id"]
    groups = pd.Series(["F", "F", "M", "M", None, None] * 10, index=scans)
    table = evaluation.auroc_by_group(predictions, groups, against="same")
    assert table["group"].tolist() == ["F", "M", "unknown"] and table["n"].tolist() == [20, 20, 20]
    ordered = groups.fillna("F").astype(pd.CategoricalDtype(["M", "F"], ordered=True))
    assert evaluation.auroc_by_group(predictions, ordered, against="same")["group"].tolist() == ["M", "F"]
    with pytest.raises(ValueError, match="against must be"):
        evaluation.auroc_by_group(predictions, groups, against="none")
    with pytest.raises(ValueError, match="'s0000' has more than one group"):
        evaluation.auroc_by_group(predictions, pd.concat([groups, groups]))
