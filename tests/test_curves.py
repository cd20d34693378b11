"""Curves: points of ROC, precision-recall and calibration curves, and the 2 x 2 counts."""

import numpy as np
import pytest
from sklearn import metrics as sk
from test_evaluation import make_predictions

from bonescan_utils import evaluation
from bonescan_utils.evaluation import auroc


def test_roc_table_spans_the_unit_square_and_holds_the_area():
    predictions = make_predictions(50)
    table = evaluation.roc_table(predictions)
    assert list(table.columns) == ["arm", "fpr", "sensitivity", "threshold"]
    one = table[table["arm"] == "vgg16"]
    assert one[["fpr", "sensitivity"]].iloc[[0, -1]].to_numpy().tolist() == [[0, 0], [1, 1]]
    scores = predictions[predictions["arm"] == "vgg16"]
    area = auroc(scores["y_true"], scores["y_score"]).estimate
    assert np.trapezoid(one["sensitivity"], one["fpr"]) == pytest.approx(area)


def test_pr_table_holds_average_precision():
    predictions = make_predictions(50, arms=["a"])
    table = evaluation.pr_table(predictions)
    assert list(table.columns) == ["arm", "sensitivity", "ppv", "threshold"]
    area = -np.sum(np.diff(table["sensitivity"]) * table["ppv"].to_numpy()[:-1])
    assert area == pytest.approx(sk.average_precision_score(predictions["y_true"], predictions["y_score"]))


def test_confusion_table_counts_every_scan():
    table = evaluation.confusion_table(make_predictions(50), {"proposed": 0.5, "vgg16": 0.3})
    assert list(table.columns) == ["arm", "threshold", "tp", "fn", "fp", "tn"]
    assert (table[["tp", "fn"]].sum(axis=1) == 25).all() and (table[["fp", "tn"]].sum(axis=1) == 25).all()
