"""The chart of the breakdown shows every estimate there is, and no other."""

from __future__ import annotations

from test_breakdown import PATIENTS, make_tables

from bonescan_utils.breakdown import MIN_PATIENTS, breakdown_table
from bonescan_utils.breakdown_chart import plot_breakdown
from bonescan_utils.localisation_chart import map_text


def test_a_dot_for_every_estimate_and_none_where_there_are_too_few() -> None:
    table = breakdown_table(*make_tables("focused_gradcam", "vgg16:focused_gradcam"), PATIENTS, n_boot=100)
    shown = ["focused_gradcam", "vgg16:focused_gradcam", "contrast"]
    figure = plot_breakdown(table, shown=shown)
    assert figure is not None
    drawn = [x for ax in figure.axes for line in ax.lines for x in line.get_xdata()]
    assert sorted(drawn) == sorted(table.loc[table["patients"] >= MIN_PATIENTS, "estimate"])
    assert len(drawn) < len(table)
    assert plot_breakdown(table.iloc[:0], shown=shown) is None


def test_a_map_of_another_arm_is_named_with_it() -> None:
    assert map_text("vgg16:gradcam") == "VGG16: Grad-CAM" and map_text("contrast") == "contrast of the image"
