"""Tables and their wording: Table 1, the comparison of arms, rounding, CSV and LaTeX."""

import warnings

import numpy as np
import pandas as pd
import pytest
from test_evaluation import make_predictions, row_of

from bonescan_utils import tables, wording
from bonescan_utils.evaluation import metrics_table, paired_tests
from bonescan_utils.files import read_text_csv

ARMS = ["proposed", "resnet50", "vgg16"]
WEIGHTS = {"proposed": "imagenet-int8", "resnet50": "random", "vgg16": "imagenet"}


def make_cohort():
    """Twelve scans in three partitions, one age and one sex not known."""
    return pd.DataFrame(
        {
            "scan_id": [f"s{i}" for i in range(12)],
            "age": [60.0, 70, 80, np.nan, 50, 60, 70, 60, 55, 65, 75, 45],
            "sex": ["F", "M"] * 5 + ["F", ""],
            "primary_cancer": ["breast"] * 6 + ["lung"] * 4 + ["", "kidney"],
            "metastasis": [0, 1] * 6,
            "site": "",
            "partition": ["train"] * 6 + ["tuning"] * 2 + ["test"] * 4,
        }
    )


# --------------------------------------------------------------------------------------------- rounding
@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.125, 2, "0.13"),  # half up, where format() would give 0.12
        (0.285, 2, "0.29"),  # half up on what is written, not on the binary fraction below it
        (0.995, 2, "1.00"),
        (0.9349, 2, "0.93"),
        (-0.126, 2, "\N{MINUS SIGN}0.13"),
        (-0.004, 2, "0.00"),
        (12, 0, "12"),
        (float("nan"), 2, "\N{EM DASH}"),
    ],
)
def test_one_rule_rounds_every_number(value, digits, text):
    assert wording.format_number(value, digits) == text


def test_intervals_and_p_values_are_written_one_way():
    assert wording.format_interval(0.93, 0.9, 0.96) == "0.93 (0.90-0.96)"
    assert wording.format_interval(0.05, -0.01, 0.11) == "0.05 (\N{MINUS SIGN}0.01 to 0.11)"
    assert wording.format_interval(np.nan, np.nan, np.nan) == "\N{EM DASH}"
    found = [wording.format_p(p) for p in (0.0004, 0.0123, 0.5, 0.999, np.nan)]
    assert found == ["<0.001", "0.012", "0.50", ">0.99", "\N{EM DASH}"]


def test_starting_weights_must_be_known():
    assert wording.weights_text("vgg16", WEIGHTS) == "ImageNet"
    with pytest.raises(ValueError, match="starting weights of arm 'xception' are not given"):
        wording.weights_text("xception", WEIGHTS)
    sentence = wording.weights_sentence(ARMS, WEIGHTS)
    assert "ResNet50: random init" in sentence and "not ranked" in sentence
    assert "not ranked" not in wording.weights_sentence(["vgg16"], WEIGHTS)


# ---------------------------------------------------------------------------------------------- table 1
def test_table_one_describes_partitions_in_their_order():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = tables.table_one(make_cohort())
    assert list(table.columns[:7]) == (["Characteristic", "Level", "Missing", "Overall", "train", "tuning", "test"])
    assert all(name.startswith("SMD") for name in table.columns[7:]) and len(table.columns) == 10
    counts = row_of(table, Characteristic="n")[["Overall", "train", "tuning", "test"]]
    assert counts.tolist() == ["12", "6", "2", "4"]
    age = row_of(table, Characteristic="Age (years), mean (SD)")
    assert age["train"] == "64.0 (11.4)" and age["Missing"] == "1"
    assert row_of(table, Level="kidney")["test"] == "1 (25.0)"
    assert not table.isin(["nan"]).any(axis=None)
    assert (table["Level"] == "unknown").sum() == 2  # one sex, one primary cancer
    assert not table["Characteristic"].str.contains("Site").any()  # nothing is known of it
    assert table.map(lambda cell: isinstance(cell, str)).all(axis=None)


def test_table_one_by_label_and_of_one_group():
    by_label = tables.table_one(make_cohort(), by="metastasis")
    assert list(by_label.columns) == (["Characteristic", "Level", "Missing", "Overall", "no", "yes", "SMD (no,yes)"])
    one = tables.table_one(make_cohort().head(6))
    assert not any(name.startswith("SMD") for name in one.columns)
    with pytest.raises(ValueError, match="cannot describe 12 scans by 'fold'"):
        tables.table_one(make_cohort(), by="fold")


def test_partitions_are_counted_in_their_order():
    df = pd.DataFrame({"partition": ["test", "train", "train", "tuning"], "metastasis": [1, 0, 1, 0]})
    table = tables.partition_sizes(df)
    assert table.to_numpy().tolist() == [["train", 2, 1], ["tuning", 1, 0], ["test", 1, 1]]
    assert tables.partition_sizes(df[:1])["group"].tolist() == ["test"]


def test_primary_cancers_are_counted_by_label():
    table = tables.primary_by_label(make_cohort())
    assert table["primary_cancer"].tolist() == ["breast"] * 2 + ["lung"] * 2 + ["kidney"] * 2 + ["unknown"] * 2
    assert table["n"].tolist() == [3, 3, 2, 2, 0, 1, 1, 0]


# ----------------------------------------------------------------------------------------- comparison
def make_comparison():
    predictions, thresholds = make_predictions(60, arms=ARMS), dict.fromkeys(ARMS, 0.5)
    metrics = metrics_table(predictions, thresholds, seed=0, n_boot=100)
    tests = paired_tests(predictions, thresholds, reference="proposed")
    return metrics, tests, tables.comparison_table(metrics, tests, WEIGHTS)


def test_comparison_table_shows_estimates_weights_and_tests():
    metrics, tests, table = make_comparison()
    assert table["Arm"].tolist() == ["Proposed", "VGG16", "ResNet50 (random init, not ranked)"]
    assert table["Starting weights"].tolist() == ["ImageNet (int8 copy)", "ImageNet", "random init"]
    assert table["Scans (positive)"].eq("60 (30)").all()
    row = row_of(metrics, arm="vgg16", metric="sensitivity")
    expected = wording.format_interval(row["estimate"], row["ci_low"], row["ci_high"])
    assert table["Sensitivity"][1] == expected
    test = row_of(tests, arm_b="vgg16", quantity="AUROC")
    assert table["AUROC difference"][0] == "reference"
    assert table["P, AUROC"][1] == wording.format_p(test["p_holm"])
    assert table["AUROC difference"][1].startswith(wording.format_number(test["difference"]))


def test_comparison_table_without_tests_and_with_gaps():
    metrics, _, _ = make_comparison()
    assert "P, AUROC" not in tables.comparison_table(metrics, None, WEIGHTS)
    with pytest.raises(ValueError, match="metrics lack Dice of arm 'proposed'"):
        tables.comparison_table(metrics, None, WEIGHTS, shown=["AUROC", "Dice"])
    with pytest.raises(ValueError, match="starting weights of arm"):
        tables.comparison_table(metrics, None, {})


# ---------------------------------------------------------------------------------------------- writing
def test_tables_are_written_as_csv_and_latex(tmp_path):
    table = pd.DataFrame({"Arm": ["a_b & c"], "AUROC": ["0.93 (0.90-0.96)"], "p": [0.0004], "n": [12]})
    csv, tex = tables.write_table(table, tmp_path, "arms", caption="50 % of scans", note="P < 0.05")
    assert read_text_csv(csv)["AUROC"].tolist() == ["0.93 (0.90-0.96)"]
    text = tex.read_text(encoding="utf-8")
    assert r"a\_b \& c & 0.93 (0.90--0.96) & $<$0.001 & 12 \\" in text
    assert r"\begin{tabular}{llrr}" in text and r"\caption{50 \% of scans}" in text
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert r"P $<$ 0.05" in text and r"\label{tab:arms}" in text


def test_comparison_table_survives_csv_and_is_ascii_in_latex(tmp_path):
    _, _, table = make_comparison()
    csv, tex = tables.write_table(table, tmp_path, "comparison")
    pd.testing.assert_frame_equal(read_text_csv(csv), table.astype("str"))
    assert tex.read_text(encoding="utf-8").isascii()


def test_metrics_named_after_people_are_written_in_full():
    assert [wording.metric_text(name) for name in ("Youden", "kappa", "AUROC")] == [
        "Youden's J",
        "Cohen's kappa",
        "AUROC",
    ]
