"""Pictures of scans: reversed grey, true aspect, sides; overlays of saliency with the truth beside them."""

import numpy as np
import pytest
from test_figures import assert_nothing_is_cut_off, words

from bonescan_utils.overlays import OverlayCase, plot_overlays
from bonescan_utils.pictures import as_panel, plot_before_after, plot_montage
from bonescan_utils.scan import Scan, View


def make_views(rows=40, cols=10):
    counts = np.zeros((rows, cols), np.int32)
    counts[5:35, 3:7] = 20
    counts[8, 4] = 90
    return {"anterior": counts, "posterior": counts[:, ::-1]}


def make_case(outcome="Hit", truth=True):
    saliency = np.linspace(0, 1, 400).reshape(40, 10)
    mask = np.zeros((40, 10), bool)
    mask[7:10, 3:6] = True
    maps = {"anterior": saliency, "posterior": saliency}
    return OverlayCase("s1, score 0.9", outcome, make_views(), maps, {"anterior": mask} if truth else {})


def test_hot_is_dark_and_nothing_is_white():
    image = plot_montage([make_views()], ["s1"]).axes[0].images[0]
    shades = image.cmap(image.norm(np.array([0, 90])))[:, 0]
    assert shades.tolist() == [1.0, 0.0]


def test_views_stand_side_by_side_with_names_and_sides():
    fig = plot_montage([make_views(), make_views()], ["s1", "s2"], note="note")
    assert_nothing_is_cut_off(fig)
    left = fig.axes[0]
    sides = {text.get_text(): text.get_position()[0] for text in left.texts if text.get_text() in "ANTPOST"}
    assert sides["ANT"] < sides["POST"]
    marks = sorted((t.get_position()[0], t.get_text()) for t in left.texts if t.get_text() in ("R", "L"))
    assert [mark for _, mark in marks] == ["R", "L", "L", "R"]
    assert "s2" in words(fig) and "note" in words(fig)


def test_one_view_alone_is_drawn():
    fig = plot_montage([{"posterior": make_views()["posterior"]}], ["s1"])
    assert "POST" in words(fig) and "ANT" not in words(fig)


def test_a_single_picture_is_halved_anterior_left():
    picture = np.arange(32, dtype=np.uint8).reshape(4, 8)
    panel = as_panel(picture)
    assert panel.views["anterior"].tolist() == picture[:, :4].tolist()
    assert panel.views["posterior"].tolist() == picture[:, 4:].tolist()
    image = plot_montage([picture], ["s"]).axes[0].images[0]
    assert (image.norm.vmin, image.norm.vmax) == (0, 255)  # a prepared picture is shown as it is


def test_aspect_is_that_of_the_body():
    view = View("anterior", make_views()["anterior"], (4.0, 2.0), "file")
    panel = as_panel(Scan("s1", view, None))
    assert (panel.width, panel.height) == (10, 80)  # pixels twice as high as wide
    ax = plot_montage([Scan("s1", view, None)], ["s1"]).axes[0]
    assert ax.get_aspect() == 1 and ax.images[0].get_extent() == [0, 10, 80, 0]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((2, 2, 3)), r"got shape \(2, 2, 3\)"),
        ({"front": np.zeros((2, 2))}, r"got \['front'\]"),
        ({}, "expected a scan"),
        ({"anterior": np.zeros(4)}, r"anterior view must have shape \(rows, cols\), got \(4,\)"),
    ],
)
def test_what_is_no_picture_is_refused(image, message):
    with pytest.raises(ValueError, match=message):
        as_panel(image)


def test_before_and_after_stand_one_above_the_other():
    prepared = np.zeros((32, 16), np.uint8)
    fig = plot_before_after([make_views()] * 2, [prepared] * 2, ["s1", "s2"])
    assert_nothing_is_cut_off(fig)
    assert "Counts as acquired" in words(fig) and "Input of the models" in words(fig)
    with pytest.raises(ValueError, match="equally many and at least one, got 1, 0 and 1"):
        plot_before_after([make_views()], [], ["s1"])
    with pytest.raises(ValueError, match="equally many and at least one, got 1 and 2"):
        plot_montage([make_views()], ["s1", "s2"])


def test_a_scan_without_counts_is_drawn_white():
    assert plot_montage([{"anterior": np.zeros((4, 4), int)}], ["s"]).axes[0].images[0].norm.vmax == 1


# --------------------------------------------------------------------------------------------- overlays
def test_overlays_show_scan_with_truth_and_scan_with_saliency():
    fig = plot_overlays([make_case("Hit"), make_case("Miss"), make_case("Hit")], note="Arm: vgg16")
    assert_nothing_is_cut_off(fig)
    said = words(fig)
    assert "Hit" in said and "Miss" in said and "lesion (truth)" in said and "Grad-CAM saliency" in said
    ax = fig.axes[0]
    assert len(ax.images) == 6  # two views plain, two again, two saliency maps
    saliency = ax.images[-1].get_array()
    assert saliency[0, 0, 3] == 0 and saliency[-1, -1, 3] > 150  # the weaker, the more transparent
    assert len(ax.collections) == 1  # the outline of the one mask
    right_of = ax.images[1].get_extent()[1]
    assert ax.images[-2].get_extent()[0] > right_of


def test_cases_of_one_outcome_share_a_row():
    cases = [make_case(outcome) for outcome in ("Hit", "Miss", "Hit", "Hit", "Hit")]
    fig = plot_overlays(cases, columns=3)
    labels = [ax.get_ylabel() for ax in fig.axes if ax.get_ylabel() in ("Hit", "Miss")]
    assert labels == ["Hit", "Hit", "Miss"]


def test_without_truth_no_key_is_drawn():
    assert "truth" not in words(plot_overlays([make_case(truth=False)]))


def test_a_map_of_another_shape_is_refused():
    case = make_case()
    wrong = OverlayCase("s7", "Hit", case.views, {"anterior": np.zeros((4, 4))})
    with pytest.raises(ValueError, match=r"s7: saliency of the anterior view has shape \(4, 4\), expected \(40, 10\)"):
        plot_overlays([wrong])
    with pytest.raises(ValueError, match="there is no case to draw"):
        plot_overlays([])
