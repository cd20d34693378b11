"""Catalogue: what each table and figure of a run is called, where it belongs, and the footnote it needs.

A name may hold `{arm}`, the arm that the study is about. A table or figure of the run that is not listed is shown
under its own name at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import pandas as pd
from matplotlib.figure import Figure

from bonescan_utils.reporting import drawings
from bonescan_utils.reporting.readable import methods_sentence, readable
from bonescan_utils.reporting.records import RunRecord
from bonescan_utils.style import PHANTOM_NOTE, add_footnote
from bonescan_utils.subgroups import MIN_SCANS

SECTIONS = {
    "cohort": "The cohort",
    "images": "What the models see",
    "performance": "The study's arm",
    "comparison": "Arms compared",
    "probabilities": "Calibration and use",
    "subgroups": "Subgroups and failures",
    "robustness": "Robustness",
    "explanation": "Where the arm looks",
    "planning": "Precision and sample size",
    "training": "Training",
    "other": "Other results",
}
"""The parts of the results, by the name of their anchor."""

AT_THRESHOLD = "Threshold chosen on tuning scans, then fixed. Test scans."
PAIRED = "Paired on the same scans; P values Holm-adjusted."
BOTH_P = (
    "Paired on the same scans. P is not adjusted; what is concluded rests on the Holm-adjusted one. Not significant is"
    " not equal: the interval says how large a difference may still be."
)
ONE_SET_OF_MODELS = "Intervals hold the chance of the scans, not that of the training."
UNADJUSTED = (
    f"Fewer than {MIN_SCANS} scans of a label that a metric needs: too few to say. Many small groups, not adjusted for"
    " their number: they show where to look, and prove no difference."
)
PLANNED = (
    "Expected for one scan a patient, at an AUROC, sensitivity and specificity that are assumed, not found. A paired"
    " difference of two arms on the same scans is known more precisely than either."
)


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: File name without suffix.
        section: A key of `SECTIONS`.
        title: What it shows.
        note: The footnote: how it was made; what the table itself says of its intervals and tests is added.
        of_arm: Whether only the rows of the study's arm are printed.
        methods_of: The table that says how its intervals were made, where it is another.
    """

    name: str
    section: str
    title: str
    note: str = ""
    of_arm: bool = False
    methods_of: str = ""

    @property
    def anchor(self) -> str:
        """Where it stands in the report."""
        return f"tab-{self.name}"

    def printed(self, run: RunRecord) -> pd.DataFrame:
        """Returns the table as text to be read."""
        return readable(self._rows(run))

    def footnote(self, run: RunRecord) -> str:
        """Returns the whole footnote: how the table was made, how its intervals were, and the line on phantoms."""
        rows = run.table(self.methods_of) if run.has(self.methods_of) else self._rows(run)
        phantoms = f"{PHANTOM_NOTE}." if run.synthetic else ""
        return " ".join(text for text in (self.note, methods_sentence(rows), phantoms) if text)

    def _rows(self, run: RunRecord) -> pd.DataFrame:
        rows = run.table(self.name)
        return rows[rows["arm"] == run.arm] if self.of_arm and "arm" in rows else rows


@dataclass(frozen=True)
class Drawing:
    """One figure.

    Attributes:
        name: File name without suffix.
        section: A key of `SECTIONS`.
        title: What it shows.
        note: What a reader must know to read it.
        needs: The tables it is drawn from; none where it is made from the scans themselves.
        draw: Draws it from the run's tables; None where that needs the scans.
    """

    name: str
    section: str
    title: str
    note: str = ""
    needs: tuple[str, ...] = ()
    draw: Callable[[RunRecord], Figure | None] | None = None

    @property
    def anchor(self) -> str:
        """Where it stands in the report."""
        return f"fig-{self.name}"

    def missing(self, run: RunRecord) -> list[str]:
        """Returns the tables it is drawn from that the run does not have, or has without rows."""
        return [name for name in self.needs if not run.has(name)]

    def there(self, run: RunRecord) -> bool:
        """Tells whether the run has the figure, or all that it is drawn from."""
        return run.figure(self.name).is_file() or bool(self.draw and not self.missing(run))

    def drawn(self, run: RunRecord) -> Figure | None:
        """Returns the figure drawn from the run's tables; None where that needs the scans."""
        figure = self.draw(run) if self.draw and not self.missing(run) else None
        return add_footnote(figure, PHANTOM_NOTE) if figure is not None and run.synthetic else figure


TABLES = (
    Table("flow", "cohort", "Flow of scans", "Each row is the one above it less what was excluded."),
    Table("table_one", "cohort", "Characteristics by partition",
          "Mean (SD) or n (%). SMD: standardised mean difference; no P values, as partitions are drawn at random."),
    Table("primary_by_label", "cohort", "Scans by primary cancer and reference label"),
    Table("quality_warnings", "images", "Scans with quality warnings, by reference label"),
    Table("trivial_baseline", "images", "Count statistics alone", f"No image is seen. {AT_THRESHOLD}"),
    Table("metrics_{arm}", "performance", "Test results of the study's arm", AT_THRESHOLD),
    Table("confusion_{arm}", "performance", "Calls of the study's arm against the reference standard", AT_THRESHOLD),
    Table("fixed_points_{arm}", "performance", "Sensitivity of the study's arm at fixed specificity, and the reverse",
          "Read from the curve of the test scans."),
    Table("comparison", "comparison", "Arms on the test scans",
          f"{AT_THRESHOLD} Differences: study's arm less the other. {PAIRED} DeLong for AUROC, McNemar for accuracy."
          " Arms that did not start from pretrained weights are not ranked.", methods_of="metrics"),
    Table("metrics", "comparison", "All metrics of all arms", AT_THRESHOLD),
    Table("paired_tests", "comparison", "Paired tests",
          f"{BOTH_P} The family: all comparisons of one quantity with the study's arm."),
    Table("paired_tests_all", "comparison", "Paired tests, all pairs of arms",
          f"{BOTH_P} The family: all pairs of arms of one quantity, so that P is larger than against one arm."),
    Table("comparison_equal_protocol", "comparison", "Every backbone by one protocol", AT_THRESHOLD),
    Table("cross_validation", "comparison", "Arms in cross-validation, all folds together",
          "Each scan scored once by models that never saw it. Scores of different folds come from different models, and"
          f" pooling takes them to mean the same; the AUROC by fold does not. {ONE_SET_OF_MODELS}"),
    Table("cross_validation_spread", "comparison", "AUROC from fold to fold",
          "Folds share training scans: SD over the square root of the number of folds is no standard error."),
    Table("calibration_metrics", "probabilities", "Calibration",
          "Slope and intercept of a logistic recalibration (ideal: 1 and 0); ECE: expected calibration error."
          " Test scans."),
    Table("recalibration", "probabilities", "Recalibration",
          "New log odds = slope x old log odds + intercept (Platt). Fitted on tuning scans only."),
    Table("predictive_values", "probabilities", "PPV and NPV at other prevalences",
          "By Bayes' rule from sensitivity and specificity on the test scans, taken to be the same where metastasis is"
          " rarer; where disease is milder they will not be. The study's arm; others in the CSV.",
          of_arm=True),
    Table("auroc_by_visible_lesions", "subgroups", "AUROC by number of visible metastases",
          "Positive scans of a group against all negative ones. Fewer than ten scans of either"
          " label:"
          " too few to say."),
    Table("subgroups", "subgroups", "Results of the study's arm by subgroup", f"{AT_THRESHOLD} {UNADJUSTED}",
          of_arm=True),
    Table("failure_reasons", "subgroups", "Why scans were called wrong",
          "Reasons by the truth of phantoms, where there is any."),
    Table("robustness", "robustness", "AUROC when the scans are changed",
          "Same model, changed test scans; differences are from the same scans unchanged. P is not adjusted; beside it"
          " Holm's over all changes of an arm."),
    Table("localisation", "explanation", "Saliency maps against lesion truth",
          "Test scans with visible lesions; maps below the methods know nothing of the model."),
    Table("localisation_differences", "explanation", "Saliency maps less the contrast of the image, same scans"),
    Table("froc", "explanation", "Visible lesions found at a number of false foci a scan"),
    Table("localisation_breakdown", "explanation", "Lesions found by number, visibility and region",
          "Lesions: at one false focus a scan. A scan counts in the group of its most prominent lesion. Fewer than ten"
          " patients: too few to say."),
    Table("localisation_compared_all", "explanation", "The study's saliency map less the others, same scans",
          "Paired patient bootstrap; P values Holm-adjusted over all groups and maps."),
    Table("precision", "planning", "Width of the 95 % interval by number of scans", PLANNED),
    Table("scans_needed", "planning", "Scans needed for a wanted width of the 95 % interval", PLANNED),
    Table("weights", "training", "What each arm started from"),
)  # fmt: skip
"""Tables for a reader, in the order of the report."""

DRAWINGS = (
    Drawing("flow", "cohort", "Flow of scans", needs=("flow",), draw=drawings.flow),
    Drawing("primary_by_label", "cohort", "Scans by primary cancer and reference label",
            needs=("primary_by_label",), draw=drawings.primary_by_label),
    Drawing("montage", "cohort", "Scans drawn at random", "Anterior view left, posterior right; dark is hot."),
    Drawing("before_after", "images", "Counts as acquired, and the image that all models get"),
    Drawing("count_statistics", "images", "Count statistics by reference label",
            needs=("count_statistics",), draw=drawings.count_statistics),
    Drawing("roc_{arm}", "performance", "ROC curve of the study's arm, test scans",
            needs=("roc_{arm}", "metrics_{arm}", "roc_band_{arm}"), draw=drawings.roc_of_arm),
    Drawing("confusion_{arm}", "performance", "Calls of the study's arm against the reference standard",
            AT_THRESHOLD, needs=("confusion_{arm}",), draw=drawings.confusion_of_arm),
    Drawing("roc", "comparison", "ROC curves, test scans", needs=("roc", "metrics", "roc_band"),
            draw=drawings.roc),
    Drawing("pr", "comparison", "Precision-recall curves, test scans", needs=("pr", "metrics"), draw=drawings.pr),
    Drawing("forest", "comparison", "Estimates by arm, test scans",
            "Intervals that overlap do not mean that a paired difference is nil.",
            needs=("metrics",), draw=drawings.forest),
    Drawing("confusion", "comparison", "Calls of each arm against the reference standard", AT_THRESHOLD,
            needs=("confusion",), draw=drawings.confusion),
    Drawing("auroc_by_fold", "comparison", "AUROC from fold to fold",
            needs=("auroc_by_fold",), draw=drawings.by_fold),
    Drawing("calibration_{arm}", "probabilities", "Calibration of the study's arm, test scans",
            needs=("calibration_{arm}", "calibration_metrics_{arm}"), draw=drawings.calibration_of_arm),
    Drawing("calibration", "probabilities", "Calibration of each arm, test scans",
            needs=("calibration", "calibration_metrics"), draw=drawings.calibration),
    Drawing("decision_curve", "probabilities", "Decision curves, test scans",
            "Net benefit of acting on an arm's score, recalibrated on tuning scans, beside acting on every scan and on"
            " none.",
            needs=("net_benefit",), draw=drawings.decision_curve),
    Drawing("auroc_by_visible_lesions", "subgroups", "AUROC by number of visible metastases",
            needs=("auroc_by_visible_lesions",), draw=drawings.by_visible_lesions),
    Drawing("subgroups", "subgroups", "Results of the study's arm by subgroup",
            needs=("subgroups",), draw=drawings.subgroups),
    Drawing("failures", "subgroups", "Scans called wrong, worst first",
            "The misses and the false alarms that are furthest from the threshold; reasons by the truth of phantoms."),
    Drawing("robustness", "robustness", "AUROC when the scans are changed",
            "Same model, changed test scans; nothing is trained again.",
            needs=("robustness",), draw=drawings.robustness),
    Drawing("grad_cam", "explanation", "Grad-CAM of hits, misses and false alarms",
            "Examples spread evenly over their scores. Each map is scaled to its own maximum."),
    Drawing("localisation_breakdown", "explanation", "Lesions found by number, visibility and region"),
    Drawing("learning_curves", "training", "Training of the study's arm",
            needs=("history_{arm}",), draw=drawings.learning_curves),
)  # fmt: skip
"""Figures, in the order of the report."""


def tables_of(run: RunRecord) -> list[Table]:
    """Returns the tables for a reader that the run has, with rows, in the order of the report."""
    listed = [replace(table, name=table.name.format(arm=run.arm)) for table in TABLES]
    known = {table.name for table in listed} | data_tables(run)
    others = [Table(name, "other", _title(name)) for name in run.table_names() if name not in known]
    return _by_section([table for table in listed + others if run.has(table.name)])


def drawings_of(run: RunRecord) -> list[Drawing]:
    """Returns all figures that a run can have, there or not, in the order of the report."""
    listed = [
        replace(
            drawing,
            name=drawing.name.format(arm=run.arm),
            needs=tuple(name.format(arm=run.arm) for name in drawing.needs),
        )
        for drawing in DRAWINGS
    ]
    known = {drawing.name for drawing in listed}
    return _by_section(
        listed + [Drawing(name, "other", _title(name)) for name in run.figure_names() if name not in known]
    )


Entry = TypeVar("Entry", Table, Drawing)


def _by_section(entries: list[Entry]) -> list[Entry]:
    """Returns entries in the order of the sections, and within one as they come."""
    places = list(SECTIONS)
    return sorted(entries, key=lambda entry: places.index(entry.section))


def numbered(run: RunRecord) -> tuple[dict[str, Drawing], dict[str, Table]]:
    """Returns the figures and the tables that the run has, by the labels `Figure 1`, `Table 1` and so on."""
    drawings = [drawing for drawing in drawings_of(run) if drawing.there(run)]
    figures = {f"Figure {number}": drawing for number, drawing in enumerate(drawings, start=1)}
    return figures, {f"Table {number}": table for number, table in enumerate(tables_of(run), start=1)}


MOST_ROWS = 80
"""A table with more rows is data to draw or to compute from, not to be read."""


def data_tables(run: RunRecord) -> set[str]:
    """Returns the tables that are listed and not printed: points of curves, and all with a row per scan."""
    points = {name for drawing in DRAWINGS for name in drawing.needs} - {table.name for table in TABLES}
    drawn = {name.format(arm=run.arm) for name in points}
    return drawn | {name for name in run.table_names() if _is_data(run, name)}


def _is_data(run: RunRecord, name: str) -> bool:
    """Tells whether a table has a row per scan, or too many rows to be read."""
    table = run.table(name)
    return len(table) > MOST_ROWS or not {"scan_id", "patient_id"}.isdisjoint(table.columns)


def _title(name: str) -> str:
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]
