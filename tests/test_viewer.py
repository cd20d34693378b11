"""Viewed scans: outcomes, which scans are shown, pixels, widgets and montage. The gallery has tests of its own."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import SmallCohort, make_scan
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from bonescan_utils.scan import Scan, View
from bonescan_utils.study import Run
from bonescan_utils.viewer import OUTCOMES, ScanViewer, ViewedScan, ViewMaps, gallery_scans, outcome_of, plot_viewed
from bonescan_utils.viewer.pixels import (
    TRUTH_COLOUR,
    Window,
    grey,
    outline_path,
    outlined,
    overlaid,
    reduced,
    root_levels,
    saliency_colours,
)
from bonescan_utils.viewer.selection import spread_rows


def maps_of(scan: Scan, raw_max: float = 2.0, *, place: tuple[int, int] = (40, 16)) -> ViewMaps:
    """Return a saliency map of both views that is 1 in one square and 0 elsewhere."""
    maps = {view.name: np.zeros(view.counts.shape, np.float32) for view in scan.views}
    for one in maps.values():
        one[place[0] - 4 : place[0] + 4, place[1] - 4 : place[1] + 4] = 1
    return ViewMaps(maps, raw_max)


def viewed(name: str, y_true: int, y_score: float, *, arm: str = "proposed", truth: bool = True) -> ViewedScan:
    """Return a scan with two methods' maps, and a lesion in both views if it has metastases."""
    scan = make_scan(name, seed=int(name[1:]), hot=bool(y_true))
    masks = {view.name: np.zeros(view.counts.shape, bool) for view in scan.views}
    for mask in masks.values():
        mask[60:66, 10:15] = bool(y_true)
    maps = {"gradcam": maps_of(scan, 1 + y_score), "layercam": maps_of(scan, 5.0, place=(90, 16))}
    primary = "breast" if int(name[1:]) % 2 else "prostate"
    return ViewedScan(scan, arm, y_true, y_score, 0.5, primary, maps, masks if truth else None)


def four(arm: str = "proposed") -> list[ViewedScan]:
    """Return a hit, a miss, a false alarm and a correct rejection."""
    cases = [("s0001", 1, 0.9), ("s0002", 1, 0.2), ("s0003", 0, 0.8), ("s0004", 0, 0.1)]
    return [viewed(*case, arm=arm) for case in cases]


# ----------------------------------------------------------------------------------------------- viewed scans
def test_outcomes_are_the_four_cells_of_a_confusion_table() -> None:
    cells = [outcome_of(label, score, 0.5) for label in (1, 0) for score in (0.5, 0.49)]
    assert cells == ["Hit", "Miss", "False alarm", "Correct rejection"]
    assert [scan.outcome for scan in four()] == list(OUTCOMES)


def test_maps_may_be_made_when_they_are_asked_for() -> None:
    asked: list[str] = []

    class Lazy:
        raw_max = 1.0

        def __init__(self, make: Callable[[], ViewMaps]) -> None:
            self.make = make

        def by_view(self) -> dict[str, np.ndarray]:
            asked.append("asked")
            return dict(self.make().views)

    scan = make_scan()
    one = ViewedScan(scan, "a", 1, 0.9, 0.5, maps={"gradcam": Lazy(lambda: maps_of(scan))})
    assert not asked
    assert one.map_by_view("gradcam")["posterior"][40, 16] == 1 and asked == ["asked"]
    assert one.map_by_view("layercam") == {}


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        ({"anterior": np.zeros((64, 32))}, r"s0001: m map of the anterior view has shape \(64, 32\); expected \(128"),
        ({"lateral": np.zeros((128, 32))}, "lateral view has shape .* expected no such view"),
        ({"anterior": np.full((128, 32), np.nan)}, "values nan to nan; expected 0-1"),
        ({"anterior": np.full((128, 32), 3.0)}, "values 3 to 3; expected 0-1"),
    ],
)  # fmt: skip
def test_a_map_that_does_not_fit_is_refused(maps: dict[str, np.ndarray], expected: str) -> None:
    one = ViewedScan(make_scan(), "a", 1, 0.9, 0.5, maps={"m": ViewMaps(maps, 1.0)})
    with pytest.raises(ValueError, match=expected):
        one.map_by_view("m")


def test_a_truth_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"truth of the posterior view has shape \(2, 2\); expected \(128, 32\)"):
        ViewedScan(make_scan(), "a", 1, 0.9, 0.5, truth={"posterior": np.zeros((2, 2), bool)})


# -------------------------------------------------------------------------------------------------- selection
rows_of_scores = st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=40)


@given(rows_of_scores, st.integers(4, 50))
def test_selected_rows_add_up_and_spare_rare_outcomes(scores: list[tuple[int, float]], n: int) -> None:
    rows = pd.DataFrame(scores, columns=["y_true", "y_score"]).assign(scan_id=[f"s{at}" for at in range(len(scores))])
    kept = spread_rows(rows, 0.5, n=n)
    assert len(kept) == min(n, len(rows)) and kept["scan_id"].is_unique
    count = {name: [0, 0] for name in OUTCOMES}
    for at, table in enumerate((rows, kept)):
        for label, score in zip(table["y_true"], table["y_score"], strict=True):
            count[outcome_of(label, score, 0.5)][at] += 1
    for there, shown in count.values():
        assert shown >= min(there, n // 4)
    places = [OUTCOMES.index(outcome_of(*pair, 0.5)) for pair in zip(kept["y_true"], kept["y_score"], strict=True)]
    assert places == sorted(places)


@pytest.fixture
def run(small_cohort: SmallCohort) -> Run:
    """A run folder with a cohort of eight scans whose files lie beside it."""
    one = Run(small_cohort.root / "run", "05_grad_cam")
    one.csv(small_cohort.df, "cohort.csv")
    one.note_data(small_cohort.manifest, synthetic=False)
    return one


def predictions_of(cohort: pd.DataFrame, arms: tuple[str, ...]) -> pd.DataFrame:
    """Return predictions of six test scans and two others, right but for the first."""
    tables = []
    for arm in arms:
        scores = [0.8, 0.9, 0.1, 0.7, 0.2, 0.6, 0.3, 0.95]
        table = pd.DataFrame({"scan_id": cohort["scan_id"], "patient_id": cohort["patient_id"], "arm": arm})
        tables.append(table.assign(partition=["test"] * 6 + ["train"] * 2, y_true=cohort["metastasis"], y_score=scores))
    return pd.concat(tables, ignore_index=True)


def test_scans_of_a_run_come_with_scores_maps_and_primaries(run: Run, small_cohort: SmallCohort) -> None:
    class Explained(ViewMaps):
        def __init__(self, scan: Scan) -> None:
            super().__init__(maps_of(scan).views, 2.0)
            object.__setattr__(self, "scan", scan)

    predictions = predictions_of(small_cohort.df, ("a", "b"))
    maps = {"b": {"gradcam": [Explained(small_cohort.scans["s0003"])]}, "a": {}}
    scans = list(gallery_scans(run, predictions, {"a": 0.5, "b": 0.5}, maps))  # type: ignore[arg-type]
    assert [scan.arm for scan in scans] == ["b"] * 6 + ["a"] * 6
    assert [scan.scan_id for scan in scans[:6]] == ["s0001", "s0003", "s0005", "s0000", "s0004", "s0002"]
    assert [scan.outcome for scan in scans[:6]] == ["Hit"] * 3 + ["False alarm"] + ["Correct rejection"] * 2
    assert [list(scan.maps) for scan in scans[:3]] == [[], ["gradcam"], []]
    primaries = small_cohort.df.set_index("scan_id")["primary_cancer"]
    assert all(scan.primary == primaries[scan.scan_id] and scan.truth is None for scan in scans)
    counts = small_cohort.scans["s0001"].views[0].counts
    assert np.array_equal(scans[0].counts["anterior"], counts)


def test_an_arm_without_predictions_or_threshold_is_named(run: Run, small_cohort: SmallCohort) -> None:
    predictions = predictions_of(small_cohort.df, ("a",))
    with pytest.raises(ValueError, match="arm 'x' has no predictions of the test scans; arms that have: a"):
        list(gallery_scans(run, predictions, {"a": 0.5}, {"x": {}}))
    with pytest.raises(ValueError, match="arm 'a' has no threshold; arms that have: b"):
        list(gallery_scans(run, predictions, {"b": 0.5}, {"a": {}}))


# ----------------------------------------------------------------------------------------------------- pixels
def test_the_window_is_in_counts_and_the_grey_reversed() -> None:
    counts = np.array([[0, 10, 15, 20, 500]], np.uint16)
    assert grey(counts, Window(10, 20)).tolist() == [[255, 255, 128, 0, 0]]
    assert grey(counts, Window(5, 5)).tolist() == [[255, 0, 0, 0, 0]]  # no width: a step, no division by zero


def test_an_overlay_is_the_weighted_mean_of_picture_and_colour() -> None:
    picture, saliency = np.array([[200, 200, 200]], np.uint8), np.array([[0.0, 0.25, 1.0]])
    mixed = overlaid(picture, saliency, opacity=0.8)
    colours = saliency_colours().astype(float)
    expected = [[200.0] * 3, 0.4 * colours[64] + 0.6 * 200, 0.8 * colours[255] + 0.2 * 200]
    assert np.abs(mixed[0] - np.array(expected)).max() <= 0.51
    assert (overlaid(picture, saliency, opacity=0.0) == 200).all()


def test_a_truth_is_outlined_and_its_inside_left_alone() -> None:
    mask = np.zeros((20, 20), bool)
    mask[8:12, 8:12] = True
    drawn = outlined(np.full((20, 20), 90, np.uint8), mask)
    assert (drawn[mask] == 90).all() and tuple(drawn[7, 9]) == TRUTH_COLOUR and tuple(drawn[0, 0]) == (90, 90, 90)


@given(arrays(np.uint16, (6, 5), elements=st.integers(0, 28_000)))
def test_stored_levels_differ_from_the_counts_by_less_than_their_noise(counts: np.ndarray) -> None:
    levels, per_root = root_levels(counts)
    back = np.sqrt(counts), levels / per_root
    assert levels.dtype == np.uint8
    # Rounding by half a level; the root of a Poisson number has a standard deviation of one half.
    assert np.abs(back[0] - back[1]).max() <= 0.5 / per_root + 1e-9 and 0.5 / per_root < 0.5


def test_counts_beyond_the_levels_are_kept_by_coarser_ones() -> None:
    levels, per_root = root_levels(np.array([[0, 1_000_000]], np.int32))
    assert (levels / per_root)[0, 1] == pytest.approx(1000) and root_levels(np.zeros((2, 2), np.uint16))[0].max() == 0


def test_a_reduced_map_is_the_mean_of_blocks() -> None:
    saliency = np.random.default_rng(1).random((16, 8))
    means = saliency.reshape(4, 4, 2, 4).mean(axis=(1, 3))
    assert np.abs(reduced(saliency) / 255 - means).max() <= 0.5 / 255 + 1e-6
    assert reduced(np.ones((5, 3))).shape == (2, 1)


@given(arrays(bool, (7, 6)))
def test_an_outline_has_each_edge_of_the_mask_once(mask: np.ndarray) -> None:
    path = outline_path(mask)
    edges = set()
    for part in path.split("M")[1:]:
        (start, end), along = (part.split("H"), "H") if "H" in part else (part.split("V"), "V")
        column, row = map(int, start.split())
        steps = range(column, int(end)) if along == "H" else range(row, int(end))
        edges |= {(along, row, step) if along == "H" else (along, step, column) for step in steps}
    inside = {(int(row), int(column)) for row, column in np.argwhere(mask)}
    expected = set()
    for row, column in inside:
        expected |= {("H", row, column)} if (row - 1, column) not in inside else set()
        expected |= {("H", row + 1, column)} if (row + 1, column) not in inside else set()
        expected |= {("V", row, column)} if (row, column - 1) not in inside else set()
        expected |= {("V", row, column + 1)} if (row, column + 1) not in inside else set()
    assert edges == expected


# ----------------------------------------------------------------------------------------------------- widget
def picture_of(viewer: ScanViewer, view: str = "anterior") -> np.ndarray:
    """Return what a widget shows, as (rows, columns, 3)."""
    return np.asarray(Image.open(io.BytesIO(viewer.pictures[view].value)).convert("RGB"))


def coloured(picture: np.ndarray) -> np.ndarray:
    """Return where a picture is not grey."""
    return picture.max(axis=-1) != picture.min(axis=-1)


def test_the_picture_follows_its_controls() -> None:
    viewer = ScanViewer(four(), interactive=True)
    viewer.truth.value = False
    shown = picture_of(viewer)
    assert shown.shape == (128, 32, 3) and coloured(shown)[36:44, 12:20].all() and not coloured(shown)[80:].any()
    viewer.method.value = "layercam"
    assert coloured(picture_of(viewer))[86:94, 12:20].all()
    viewer.opacity.value = 0
    assert not coloured(picture_of(viewer)).any()
    viewer.truth.value = True
    assert tuple(picture_of(viewer)[59, 12]) == TRUTH_COLOUR
    viewer.window.value = (0, viewer.window.max)
    light = picture_of(viewer)
    viewer.window.value = (0, 5)
    assert picture_of(viewer).mean() < light.mean()


def test_a_common_scale_makes_a_faint_map_faint() -> None:
    viewer = ScanViewer(four(), interactive=True)
    viewer.choice.value = 3  # its map has a maximum of 1.1 logits; the largest of the arm has 1.9
    own = picture_of(viewer).astype(int)
    viewer.common.value = True
    scan = viewer.shown
    base = grey(scan.counts["anterior"], Window(*viewer.window.value))
    expected = overlaid(base, scan.map_by_view("gradcam")["anterior"] * (1.1 / 1.9), opacity=viewer.opacity.value)
    assert (picture_of(viewer)[:50] == expected[:50]).all() and (own[:50] != expected[:50]).any()


def test_buttons_lead_to_the_next_outcome_and_round() -> None:
    viewer = ScanViewer([*four(), viewed("s0005", 1, 0.7)], interactive=True)
    visited = []
    for name in ("Miss", "False alarm", "Correct rejection", "Hit", "Hit", "Next", "Previous"):
        viewer.buttons[name].click()
        visited.append(viewer.shown.scan_id)
    assert visited == ["s0002", "s0003", "s0004", "s0005", "s0001", "s0002", "s0001"]
    assert viewer.choice.value == 0 and viewer.place.value == 1
    viewer.place.value = 3
    assert viewer.shown.scan_id == "s0003" and "s0003" in viewer.heading.value


def test_another_arm_shows_the_same_scan_as_that_arm_judged_it() -> None:
    scans = [*four(), viewed("s0003", 0, 0.3, arm="vgg16"), viewed("s0002", 1, 0.6, arm="vgg16")]
    viewer = ScanViewer(scans, interactive=True)
    viewer.choice.value = 1
    viewer.arm.value = "vgg16"
    assert (viewer.shown.arm, viewer.shown.scan_id, viewer.shown.outcome) == ("vgg16", "s0002", "Hit")
    assert viewer.buttons["Miss"].disabled and not viewer.buttons["Hit"].disabled
    assert [place for _, place in viewer.choice.options] == [4, 5]
    viewer.step(1, "Miss")
    assert viewer.shown.scan_id == "s0002"


def test_the_window_keeps_its_share_from_scan_to_scan() -> None:
    scan = make_scan("s0002")
    views = [View(view.name, view.counts * 3, view.pixel_mm, "file") for view in scan.views]
    bright = ViewedScan(Scan("s0009", *views), "proposed", 0, 0.1, 0.5)
    viewer = ScanViewer([ViewedScan(scan, "proposed", 0, 0.1, 0.5), bright], interactive=True)
    first = viewer.window.value
    viewer.window.value = (first[1] // 10, first[1] // 2)
    viewer.step(1)
    assert viewer.window.value == pytest.approx((3 * (first[1] // 10), 3 * (first[1] // 2)), abs=3)


def test_a_missing_view_and_an_unknown_truth_are_shown_as_such() -> None:
    scan = make_scan()
    viewer = ScanViewer([ViewedScan(Scan("<b>x", None, scan.posterior), "a", 0, 0.1, 0.5)], interactive=True)
    assert viewer.pictures["anterior"].layout.display == "none" and viewer.truth.disabled
    assert "not known" in viewer.facts.value and "&lt;b&gt;x" in viewer.heading.value
    assert picture_of(viewer, "posterior").shape == (128, 32, 3)


def test_without_a_front_end_a_still_picture_is_shown() -> None:
    viewer = ScanViewer(four())
    bundle = viewer._repr_mimebundle_()
    assert viewer.panel is None and bundle["text/plain"] == "ScanViewer of 4 scans"
    assert Image.open(io.BytesIO(bundle["image/png"])).size[0] > 500


def test_a_montage_has_a_row_for_each_outcome() -> None:
    figure = plot_viewed([*four(), *four("vgg16")], each=2, note="A note.")
    labels = [ax.get_ylabel() for ax in figure.axes if ax.get_ylabel() in OUTCOMES]
    assert labels == list(OUTCOMES)
    assert any("Arm Proposed, threshold 0.50. A note." in text.get_text() for text in figure.texts)


def test_nothing_to_view_is_said() -> None:
    for make in (ScanViewer, plot_viewed):
        with pytest.raises(ValueError, match="give at least one ViewedScan"):
            make([])


def test_the_viewer_needs_no_tensorflow() -> None:
    code = "import sys, bonescan_utils.viewer; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
def test_in_a_kernel(tmp_path: Path) -> None:
    """Under nbclient, as under papermill, it is a picture unless widgets are asked for; their state is saved."""
    from nbclient import NotebookClient

    start = f"import sys; sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1])]!r}\n"
    cells = [start + "from test_viewer import *", "ScanViewer(four())", "ScanViewer(four(), interactive=True)"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
    still, live = (notebook.cells[at].outputs[0].data for at in (1, 2))
    assert "image/png" in still and "application/vnd.jupyter.widget-view+json" not in still
    state = notebook.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    assert live["application/vnd.jupyter.widget-view+json"]["model_id"] in state
    models = [model["model_name"] for model in state.values()]
    assert models.count("ImageModel") == 2 and models.count("IntRangeSliderModel") == 1
