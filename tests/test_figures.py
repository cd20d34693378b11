"""Figures: what they show, that nothing is cut off or overlaps, and that a rerun writes the same bytes."""

import re

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.text import Text
from test_evaluation import make_predictions

from bonescan_utils import evaluation, figures
from bonescan_utils.flow import check_flow
from bonescan_utils.style import FOOTNOTE, add_footnote, arm_style, widths_of

ARMS = ["proposed", "vgg16", "resnet50"]
WEIGHTS = {"proposed": "imagenet-int8", "vgg16": "imagenet", "resnet50": "random"}
MANY = [*ARMS, "xception", "densenet121", "inceptionv3", *(f"{arm}_finetuned" for arm in ARMS[1:])]
NOTE = figures.PHANTOM_NOTE


@pytest.fixture(scope="module")
def results():
    predictions = make_predictions(60, arms=ARMS)
    thresholds = dict.fromkeys(ARMS, 0.5)
    scans = predictions.drop_duplicates("scan_id").set_index("scan_id")["y_true"]
    bands = ["1-2", "3-6", "3-6", ">=7", "3-6", "1-2"]
    groups = pd.Series([bands[i // 2 % 6] if y else "" for i, y in enumerate(scans)], index=scans.index)
    return {
        "metrics": evaluation.metrics_table(predictions, thresholds, seed=0, n_boot=100),
        "roc": evaluation.roc_table(predictions),
        "pr": evaluation.pr_table(predictions),
        "confusion": evaluation.confusion_table(predictions, thresholds),
        "calibration": evaluation.calibration_table(predictions, bins=4),
        "groups": evaluation.auroc_by_group(predictions, groups, min_scans=8),
    }


def make_history(arms=ARMS, l2=np.nan):
    epoch = np.arange(1, 6)
    columns = {"epoch": epoch, "loss": 1 / epoch, "tuning_loss": 0.3 + 1 / epoch, "l2": l2}
    parts = [pd.DataFrame({"arm": arm, **columns, "tuning_auroc": 1 - 0.5 / epoch}) for arm in arms]
    return pd.concat(parts, ignore_index=True)


def make_flow():
    rows = [("Scans in the manifest", 112, 0, ""), ("Readable", 104, 8, "5 truncated; 3 not bone scans")]
    return pd.DataFrame([*rows, ("Used", 100, 4, "4 saturated")], columns=["step", "n", "excluded", "reason"])


GROUPS = pd.DataFrame({"group": ["train", "tuning", "test"], "n": [70, 10, 20], "n_positive": [35, 5, 10]})
CANCERS = pd.DataFrame({"primary_cancer": ["breast", "breast", ""], "metastasis": [0, 1, 1], "n": [9, 4, 2]})
COUNTS = pd.DataFrame({"metastasis": [0, 1] * 8, "counts": np.arange(16) * 1e5, "maximum": np.arange(16)})

FOLDS = pd.DataFrame(
    [
        {"arm": arm, "repeat": 0, "fold": fold, "estimate": 0.8 + 0.02 * fold - 0.05 * number}
        for number, arm in enumerate(ARMS)
        for fold in range(5)
    ]
)

GROUPED = [
    ("all", "all scans", 60, 0.8), ("sex", "F", 50, 0.85), ("sex", "M", 10, np.nan),
    ("primary_cancer", "pro$tate", 60, 0.7),
]  # fmt: skip
SUBGROUPS = pd.DataFrame(
    [
        (factor, group, "resnet50", metric, estimate, estimate - 0.1, estimate + 0.1, n, n // 2)
        for factor, group, n, estimate in GROUPED
        for metric in ("AUROC", "sensitivity", "specificity")
    ],
    columns=["factor", "group", "arm", "metric", "estimate", "ci_low", "ci_high", "n", "n_positive"],
)
THRESHOLDS = np.arange(0.01, 1, 0.01)
NET_BENEFIT = pd.concat(
    [
        pd.DataFrame(
            {
                "arm": arm, "threshold": THRESHOLDS, "estimate": 0.5 - 0.2 * rank - 0.4 * THRESHOLDS,
                "ci_low": 0.4 - 0.4 * THRESHOLDS, "ci_high": 0.6 - 0.4 * THRESHOLDS,
                "treat_all": 0.5 - 0.5 * THRESHOLDS / (1 - THRESHOLDS), "prevalence": 0.5,
            }
        )
        for rank, arm in enumerate(ARMS)
    ]
)  # fmt: skip
CALIBRATED = pd.DataFrame(
    [
        {"arm": arm, "metric": metric, "estimate": 1.02, "ci_low": 0.7, "ci_high": 1.4}
        for arm in ARMS
        for metric in ("slope", "intercept", "ECE")
    ]
)
BAND = pd.DataFrame({"arm": "proposed", "fpr": [0, 0.5, 1], "ci_low": [0, 0.6, 1], "ci_high": [0.3, 0.9, 1]})


def make_localisation():
    maps = ["focused_gradcam", "gradcam", "integrated_gradients", "random", "body", "counts", "contrast"]
    rows = [(name, what, 0.5, 0.4, 0.6, 80) for name in maps for what in ("pointing", "energy", "auprc")]
    return pd.DataFrame(rows, columns=["map", "measure", "estimate", "ci_low", "ci_high", "n"])


FROC = pd.DataFrame(
    [
        (m, x, min(1, 0.2 * x), 60, 20)
        for m in ("focused_gradcam", "gradcam", "counts", "random")
        for x in (0.5, 1, 2, 4)
    ],
    columns=["map", "false_foci", "sensitivity", "lesions", "scans"],
)

DRAWN = {
    "subgroups": lambda r: figures.plot_subgroups(SUBGROUPS, arm="resnet50", weights=WEIGHTS, note=NOTE),
    "decision curve": lambda r: figures.plot_decision_curve(NET_BENEFIT, weights=WEIGHTS, note=NOTE),
    "roc with a band": lambda r: figures.plot_roc(r["roc"], r["metrics"], weights=WEIGHTS, band=BAND, note=NOTE),
    "calibration in numbers": lambda r: figures.plot_calibration(
        r["calibration"], weights=WEIGHTS, summary=CALIBRATED, note=NOTE
    ),
    "folds": lambda r: figures.plot_folds(FOLDS, weights=WEIGHTS, note=NOTE),
    "roc": lambda r: figures.plot_roc(r["roc"], r["metrics"], weights=WEIGHTS, note=NOTE),
    "pr": lambda r: figures.plot_pr(r["pr"], r["metrics"], weights=WEIGHTS, note=NOTE),
    "confusion": lambda r: figures.plot_confusion(r["confusion"], weights=WEIGHTS, note=NOTE),
    "confusion of one": lambda r: figures.plot_confusion(r["confusion"].tail(1), weights=WEIGHTS, note=NOTE),
    "calibration": lambda r: figures.plot_calibration(r["calibration"], weights=WEIGHTS, note=NOTE),
    "forest": lambda r: figures.plot_forest(r["metrics"], weights=WEIGHTS, note=NOTE),
    "groups": lambda r: figures.plot_group_auroc(r["groups"], weights=WEIGHTS, axis="Lesions", note=NOTE),
    "learning": lambda r: figures.plot_learning_curves(
        make_history(), weights=WEIGHTS, best_epoch={"proposed": 4}, note=NOTE
    ),
    "learning of a logistic head": lambda r: figures.plot_learning_curves(
        make_history(ARMS[2:], 10.0 ** np.arange(4, -1, -1)), weights=WEIGHTS, best_epoch={"resnet50": 4}, note=NOTE
    ),
    "localisation": lambda r: figures.plot_localisation(make_localisation(), note=NOTE),
    "froc": lambda r: figures.plot_froc(FROC, note=NOTE),
    "flow": lambda r: figures.plot_flow(make_flow(), GROUPS, note=NOTE),
    "primary": lambda r: figures.plot_primary_by_label(CANCERS, note=NOTE),
    "counts": lambda r: figures.plot_count_statistics(COUNTS, note=NOTE),
}
WITHOUT_ARMS = {"flow", "primary", "counts", "localisation", "froc"}


def texts(fig):
    """All text that is seen in a figure."""
    return [t for t in fig.findobj(Text) if t.get_visible() and t.get_text().strip()]


def words(fig):
    return " ".join(text.get_text() for text in texts(fig)).replace("\n", " ")


def hidden_ticks(fig):
    """Labels of ticks outside the axes' limits, which are not drawn."""
    axes = [axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)]
    limits = [sorted(axis.get_view_interval()) for axis in axes]
    ticks = [(tick, limit) for axis, limit in zip(axes, limits, strict=True) for tick in axis.get_major_ticks()]
    return {tick.label1 for tick, (low, high) in ticks if not low <= tick.get_loc() <= high}


def assert_nothing_is_cut_off(fig):
    """Every text lies within the figure, and none lies over the footnote."""
    fig.draw_without_rendering()
    frame = fig.bbox.padded(1)
    boxes = {text: text.get_window_extent() for text in texts(fig) if text not in hidden_ticks(fig)}
    foot = [text for text in boxes if text.get_gid() == FOOTNOTE]
    for text, box in boxes.items():
        ax = text.axes
        if ax is not None and not ax.get_visible():
            continue
        inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
        assert inside, f"{text.get_text()!r} is cut off: {box} in {frame}"
        assert not foot or text is foot[0] or not box.overlaps(boxes[foot[0]]), f"{text.get_text()!r} over note"


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_whole_and_say_what_arms_started_from(name, results):
    fig = DRAWN[name](results)
    assert_nothing_is_cut_off(fig)
    said = words(fig)
    assert NOTE in said
    if name not in WITHOUT_ARMS:
        assert "Starting weights." in said and "random init" in said
    assert not plt.get_fignums()  # no figure is left open


def test_many_arms_fit():
    predictions = make_predictions(60, arms=MANY).assign(y_score=lambda p: p["y_score"].clip(0, 1))
    weights = dict.fromkeys(MANY, "random") | {"proposed": "imagenet"}
    metrics = evaluation.metrics_table(predictions, dict.fromkeys(MANY, 0.5), seed=0, n_boot=100)
    for fig in (
        figures.plot_roc(evaluation.roc_table(predictions), metrics, weights=weights),
        figures.plot_forest(metrics, weights=weights),
        figures.plot_learning_curves(make_history(MANY), weights=weights),
    ):
        assert_nothing_is_cut_off(fig)


def test_arms_without_pretrained_weights_are_dashed(results):
    fig = DRAWN["roc"](results)
    lines = {line.get_label(): line for line in fig.axes[0].lines}
    dashed = {label.split("  ")[0]: line.get_linestyle() for label, line in lines.items() if "(0" in label or label}
    assert dashed["ResNet50 (random init)"] == "--"
    assert dashed["Proposed"] == dashed["VGG16"] == "-"


def test_an_arm_keeps_its_colour_and_a_twin_its_own_dashes():
    weights = dict.fromkeys(MANY, "imagenet") | {"xception": "random", "other": "imagenet"}
    alone, together = (arm_style("vgg16", arms, weights) for arms in (["vgg16"], MANY))
    assert alone["color"] == together["color"] == arm_style("vgg16_finetuned", MANY, weights)["color"]
    assert arm_style("vgg16_finetuned", MANY, weights)["linestyle"] == "-."
    assert arm_style("vgg16_finetuned", ["vgg16_finetuned"], weights)["linestyle"] == "-"
    assert arm_style("xception", MANY, weights)["linestyle"] == "--"
    assert arm_style("other", [*MANY, "other"], weights)["label"] == "other"


def test_arms_need_their_starting_weights(results):
    with pytest.raises(ValueError, match="starting weights of arm 'proposed' are not given"):
        figures.plot_roc(results["roc"], results["metrics"], weights={})


def test_tables_that_lack_something_are_refused(results):
    with pytest.raises(ValueError, match="the ROC table lacks column"):
        figures.plot_roc(results["pr"], results["metrics"], weights=WEIGHTS)
    with pytest.raises(ValueError, match="the history has no rows"):
        figures.plot_learning_curves(make_history().head(0), weights=WEIGHTS)
    with pytest.raises(ValueError, match="one row AUPRC of arm 'proposed', found 0"):
        figures.plot_pr(results["pr"], results["metrics"].query("metric == 'AUROC'"), weights=WEIGHTS)


def test_confusion_shows_counts_and_row_shares(results):
    row = results["confusion"].iloc[0]
    said = words(DRAWN["confusion"](results))
    assert f"{row['tp']} {100 * row['tp'] / 30:.0f} %" in said


def test_groups_too_small_are_named(results):
    assert results["groups"]["note"].eq("too few to say").any()
    assert "too few to say" in words(DRAWN["groups"](results))


def test_subgroups_name_factors_sizes_and_gaps(results):
    fig = DRAWN["subgroups"](results)
    said = words(fig)
    assert "F 50 (25)" in re.sub(r" +", " ", said) and "pro$tate" in said and said.count("too few ") >= 3
    bold = [label.get_text() for label in fig.axes[0].get_yticklabels() if label.get_fontweight() == "bold"]
    assert bold == ["Sex", "Primary cancer"]
    with pytest.raises(ValueError, match="arm 'proposed' has no rows"):
        figures.plot_subgroups(SUBGROUPS, arm="proposed", weights=WEIGHTS)


def test_decision_curve_shows_both_ways_without_a_model(results):
    fig = DRAWN["decision curve"](results)
    lines = {line.get_label(): line for line in fig.axes[0].lines}
    assert lines["Treat all"].get_ydata()[49] == pytest.approx(0.0) and set(lines["Treat none"].get_ydata()) == {0}
    assert "Prevalence 0.50" in words(fig)


def test_the_band_of_a_curve_is_that_of_its_table(results):
    (band,) = DRAWN["roc with a band"](results).axes[0].collections
    corners = {tuple(point) for point in band.get_paths()[0].vertices.tolist()}
    assert {(0.5, 0.6), (0.5, 0.9)} <= corners


def test_calibration_shows_slope_intercept_and_ece(results):
    said = words(DRAWN["calibration in numbers"](results))
    assert said.count("slope 1.02 (0.70–1.40)") == len(ARMS) and "ECE 1.02" in said


def test_no_figure_reads_mathematics_into_text(results):
    fig = DRAWN["learning of a logistic head"](results)
    fig.draw_without_rendering()
    ticks = {label.get_text() for label in fig.axes[0].get_xticklabels()}
    assert {"10⁰", "10⁴"} <= ticks and not any("$" in tick for tick in ticks)


@pytest.mark.parametrize("journal", ["elsevier", "springer", "nature"])
def test_figures_are_whole_at_the_widths_of_journals(journal, results):
    with widths_of(journal) as widths:
        for name in ("roc with a band", "calibration in numbers", "subgroups", "confusion", "flow"):
            fig = DRAWN[name](results)
            assert_nothing_is_cut_off(fig)
            assert round(fig.get_figwidth() * 25.4) in widths.widths_mm


# ------------------------------------------------------------------------------------------------- flow
def test_flow_shows_every_box():
    said = words(figures.plot_flow(make_flow(), GROUPS))
    for text in ("(n = 112)", "Excluded (n = 8)", "3 not bone scans", "train (n = 70)", "35 with metastasis"):
        assert text in said


def test_flow_without_exclusions_stands_in_the_middle():
    fig = figures.plot_flow(make_flow().assign(n=100, excluded=0, reason=""), GROUPS)
    assert_nothing_is_cut_off(fig)
    ax = fig.axes[0]
    boxes = [text for text in ax.texts if text.get_text().startswith(("Scans in", "Readable", "Used"))]
    assert len(boxes) == 3 and all(text.get_position()[0] == np.mean(ax.get_xlim()) for text in boxes)


def test_flow_that_does_not_add_up_is_refused():
    wrong = make_flow()
    wrong.loc[2, "n"] = 101
    with pytest.raises(ValueError, match="at 'Used': 104 - 4 excluded = 100, but the box says 101"):
        figures.plot_flow(wrong)
    with pytest.raises(ValueError, match="groups sum to 101, but 'Used' has 100"):
        check_flow(make_flow(), GROUPS.assign(n=[70, 11, 20]))


# --------------------------------------------------------------------------------------------- on disk
def test_saved_figures_are_the_same_bytes_again(results, tmp_path):
    paths = [figures.save_figure(DRAWN["roc"](results), tmp_path / run / "roc", note="n") for run in "ab"]
    for first, second in zip(*paths, strict=True):
        assert first.read_bytes() == second.read_bytes()
    png, pdf = paths[0]
    assert png.name == "roc.png" and pdf.name == "roc.pdf"
    assert b"/Type3" not in pdf.read_bytes() and b"CreationDate" not in pdf.read_bytes()
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"roc.png", "roc.pdf"}


def test_a_note_is_added_once(results, tmp_path):
    fig = DRAWN["primary"](results)
    for _ in range(2):
        figures.save_figure(fig, tmp_path / "f.1", note=NOTE)
    assert (tmp_path / "f.1.png").exists()
    assert words(fig).count(NOTE) == 1
    add_footnote(fig, "", "word " * 60)
    assert_nothing_is_cut_off(fig)


def test_the_callers_settings_are_left_alone(results):
    before = dict(plt.rcParams)
    DRAWN["roc"](results)
    assert dict(plt.rcParams) == before


def test_without_folds_nothing_is_drawn():
    assert figures.plot_folds(FOLDS.head(0), weights=WEIGHTS) is None
