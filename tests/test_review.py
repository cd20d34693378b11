"""Image review: the log of readings, agreement beyond chance, what is settled and what queued, the panel."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pandas as pd
import pytest
from conftest import SmallCohort, make_scan
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters
from statsmodels.stats.inter_rater import fleiss_kappa as fleiss_of_statsmodels

from bonescan_utils.labelling import adjudication, agreement, notebook, readings
from bonescan_utils.labelling.lexicon import load_lexicon
from bonescan_utils.labelling.readings import READINGS, append_event, read_log
from bonescan_utils.labelling.reports import LabelError
from bonescan_utils.labelling.review import ReviewPanel, shuffled
from bonescan_utils.scan import Scan, ScanError


def said(log: Path) -> dict[tuple[str, str], str]:
    table = readings.current_readings(read_log(log))
    return {(row.scan_id, row.reader): row.reading for row in table.itertuples()}


# ------------------------------------------------------------------------------------------------- log
def test_the_log_only_grows_and_an_undo_is_a_line(tmp_path: Path) -> None:
    log = tmp_path / "readings.csv"
    first = append_event(log, reader="A", scan_id="s1", action="read", reading="abnormal", regions=["ribs", "spine"])
    before = log.read_bytes()
    second = append_event(log, reader="A", scan_id="s1", action="read", reading="normal")
    assert said(log) == {("s1", "A"): "normal"}
    append_event(log, reader="A", scan_id="s1", action="undo", undoes=second)
    assert said(log) == {("s1", "A"): "abnormal"} and log.read_bytes().startswith(before)
    append_event(log, reader="A", scan_id="s1", action="undo", undoes=first)
    assert said(log) == {} and len(read_log(log).events) == 4
    assert log.stat().st_mode & 0o777 == 0o600


def test_ids_come_back_as_they_went_in_and_are_inert_on_disk(tmp_path: Path) -> None:
    ids = ["007", "=cmd()", "1,5", "@x", "1e5", "가"]
    for scan_id in ids:
        append_event(tmp_path / "log.csv", reader="A", scan_id=scan_id, action="read", reading="unsure")
    assert list(read_log(tmp_path / "log.csv").events["scan_id"]) == ids
    assert ",=cmd" not in (tmp_path / "log.csv").read_text() and ",@x" not in (tmp_path / "log.csv").read_text()


@pytest.mark.parametrize("scan_id", ["s2", "s,2"])
def test_a_line_cut_short_anywhere_loses_that_line_only(tmp_path: Path, scan_id: str) -> None:
    log = tmp_path / "log.csv"
    append_event(log, reader="A", scan_id="s1", action="read", reading="normal")
    whole = log.read_bytes()
    append_event(log, reader="A", scan_id=scan_id, action="read", reading="abnormal", regions=["ribs"])
    last = log.read_bytes()[len(whole) :]
    for kept in range(1, len(last) - 1):
        log.write_bytes(whole + last[:kept])
        append_event(log, reader="B", scan_id="s3", action="read", reading="unsure")
        assert said(log) == {("s1", "A"): "normal", ("s3", "B"): "unsure"}
        assert read_log(log).torn == 1


def test_a_log_that_does_not_exist_has_no_events(tmp_path: Path) -> None:
    assert read_log(tmp_path / "no.csv").events.empty and not (tmp_path / "no.csv").exists()


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"reader": "Dr Kim"}, "code name"),
        ({"action": "delete"}, "expected one of mark"),
        ({"reading": "maybe"}, "expected abnormal or normal or unsure"),
        ({"regions": ["liver"]}, "liver"),
        ({"action": "undo", "reading": ""}, "names an event"),
        ({"scan_id": "a\nb"}, "expected an id"),
    ],
)
def test_an_event_that_cannot_be_is_refused_and_not_written(
    tmp_path: Path, event: dict[str, object], words: str
) -> None:  # fmt: skip
    good = {"reader": "A", "scan_id": "s", "action": "read", "reading": "normal"}
    with pytest.raises(LabelError, match=words):
        append_event(tmp_path / "log.csv", **{**good, **event})  # type: ignore[arg-type]
    assert not (tmp_path / "log.csv").exists()


def test_a_log_that_was_tampered_with_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    event = append_event(log, reader="A", scan_id="s", action="read", reading="normal")
    append_event(log, reader="B", scan_id="s", action="undo", undoes=event)
    with pytest.raises(LabelError, match="no standing event of this reader"):
        read_log(log)
    log.write_text("scan_id,reading\ns,normal\n")
    with pytest.raises(LabelError, match="is it a log of readings"):
        read_log(log)


# -------------------------------------------------------------------------------------------- agreement
@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.integers(2, 5), st.integers(2, 4))
@settings(max_examples=40, deadline=None)
def test_kappa_is_that_of_two_other_libraries(seed: int, n: int, readers: int, categories: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(categories, size=(n, 1))
    ratings = np.where(rng.random((n, readers)) < 0.7, truth, rng.integers(categories, size=(n, readers)))
    patients = np.arange(n)
    if len(np.unique(ratings)) > 1:
        found = agreement.fleiss_kappa(ratings, patients, seed=1, n_boot=100).estimate
        assert found == pytest.approx(fleiss_of_statsmodels(aggregate_raters(ratings)[0]), abs=1e-9)
    if len(np.unique(ratings[:, :2])) > 1:
        found = agreement.cohen_kappa(ratings[:, 0], ratings[:, 1], patients, seed=1, n_boot=100).estimate
        assert found == pytest.approx(cohen_kappa_score(ratings[:, 0], ratings[:, 1]), abs=1e-9)


def test_kappa_of_a_textbook_table() -> None:
    """Both yes 20, only one 5 and 10, both no 15: kappa 0.4."""
    a = ["yes"] * 25 + ["no"] * 25
    b = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    found = agreement.cohen_kappa(a, b, np.arange(50), seed=3, n_boot=500)
    assert found.estimate == pytest.approx(0.4) and found.ci_low < 0.2 and 0.55 < found.ci_high < 0.75
    assert found.method == "patient bootstrap" and found.n == 50


def test_the_interval_counts_patients_and_not_scans() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(2, size=40)
    b = np.where(rng.random(40) < 0.8, a, 1 - a)
    alone = agreement.cohen_kappa(a, b, np.arange(40), seed=1, n_boot=500)
    four = agreement.cohen_kappa(np.tile(a, 4), np.tile(b, 4), np.tile(np.arange(40), 4), seed=1, n_boot=500)
    assert four.estimate == pytest.approx(alone.estimate)
    assert four.ci_high - four.ci_low == pytest.approx(alone.ci_high - alone.ci_low, abs=0.02)


def test_kappa_is_undefined_where_all_say_the_same_and_refused_without_scans() -> None:
    found = agreement.cohen_kappa(["n"] * 5, ["n"] * 5, range(5), seed=1, n_boot=100)
    assert np.isnan(found.estimate) and found.method == "undefined: all readings are of one category"
    with pytest.raises(ValueError, match="at least one scan"):
        agreement.cohen_kappa([], [], [], seed=1)
    with pytest.raises(ValueError, match="two readers"):
        agreement.fleiss_kappa([["n"], ["y"]], [1, 2], seed=1)


def matrix_of(columns: dict[str, list[str]]) -> pd.DataFrame:
    return pd.DataFrame(
        columns, index=pd.Index([f"s{at}" for at in range(len(next(iter(columns.values()))))], name="scan_id")
    )


def test_the_table_compares_the_scans_that_all_of_a_pair_read() -> None:
    full = ["abnormal", "normal", "normal", "unsure", "abnormal"]
    matrix = matrix_of({"A": full, "B": [*full[:4], "normal"], "C": [*full[:3], "", ""]})
    patients = pd.Series(["p0", "p0", "p1", "p2", "p3"], matrix.index)
    reports = pd.Series(["positive", "negative", "historical", "uncertain", "none"], matrix.index)
    table = agreement.agreement_table(
        matrix, patients, reports=reports, reviewed=pd.Series(full, matrix.index), seed=1, n_boot=100
    )
    assert list(table["comparison"]) == ["A vs B", "A vs C", "B vs C", "all 3 readers", agreement.REPORT_ROW]
    assert list(table["n"]) == [5, 3, 3, 3, 3] and list(table["n_patients"]) == [4, 2, 2, 2, 2]
    assert table["observed"].iloc[0] == 0.8 and (table["kappa"].iloc[1:] == 1).all()


def test_disagreements_among_readers_and_with_the_report() -> None:
    matrix = matrix_of({"A": ["normal"] * 4, "B": ["normal", "abnormal", "normal", ""]})
    reports = pd.Series({"s0": "negative", "s1": "none", "s2": "positive", "s3": "historical"})
    assert list(agreement.disagreements(matrix, reports=reports)["scan_id"]) == ["s1", "s2"]
    assert list(agreement.disagreements(matrix)["scan_id"]) == ["s1"]


# -------------------------------------------------------------------------------------- settling labels
def events(*rows: tuple[str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["scan_id", "reader", "reading"])


@pytest.mark.parametrize(
    ("read", "decision", "report", "status", "metastasis", "words"),
    [
        (["abnormal", "abnormal"], "", "uncertain", "settled", 1, "image review, 2 readers"),
        (["normal", "normal", "normal"], "", "historical", "settled", 0, "image review, 3 readers"),
        (["abnormal", "normal"], "", "positive", "queue", None, "readers differ"),
        (["unsure", "unsure"], "", "positive", "queue", None, "unsure"),
        (["normal", "normal"], "", "positive", "queue", None, "differs from the report"),
        (["normal"], "", "negative", "settled", 0, "report and one reader"),
        (["normal"], "", "positive", "queue", None, "differs from the report"),
        (["normal"], "", "uncertain", "open", None, "second reader"),
        ([], "", "positive", "settled", 1, "report"),
        ([], "", "uncertain", "open", None, "report label uncertain"),
        ([], "", "historical", "open", None, "report label historical"),
        ([], "", "", "open", None, "neither"),
        (["abnormal", "normal"], "normal", "positive", "settled", 0, "adjudicated"),
        (["abnormal", "normal"], "unsure", "positive", "open", None, "unsure after adjudication"),
    ],
)
def test_what_settles_a_scan(
    read: list[str], decision: str, report: str, status: str, metastasis: int | None, words: str
) -> None:
    said_by = events(*(("s", reader, reading) for reader, reading in zip("ABC", read, strict=False)))
    decided = events(*([("s", "J", decision)] if decision else []))
    reports = pd.Series({"s": report}) if report else None
    row = adjudication.settle(pd.Series(["s"]), readings=said_by, decisions=decided, reports=reports).iloc[0]
    assert row["status"] == status and words in row["label_source"] + row["reason"]
    assert (None if pd.isna(row["metastasis"]) else row["metastasis"]) == metastasis


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("XYZ"), st.sampled_from(READINGS)), max_size=12),
    st.dictionaries(st.sampled_from("abcde"), st.sampled_from(["positive", "negative", "uncertain", "none"])),
)
@settings(max_examples=60, deadline=None)
def test_every_scan_is_settled_queued_or_open_once(read: list[tuple[str, str, str]], labels: dict[str, str]) -> None:
    unique = {(scan, reader): (scan, reader, reading) for scan, reader, reading in read}
    table = adjudication.settle(
        pd.Series(list("abcde")),
        readings=events(*unique.values()),
        decisions=events(),
        reports=pd.Series(labels, dtype=str),
    )
    assert list(table["scan_id"]) == list("abcde")
    assert (table["status"] == "settled").eq(table["metastasis"].notna()).all()
    assert (table["label_source"] != "").eq(table["status"] == "settled").all()
    assert (table["reason"] != "").eq(table["status"] != "settled").all()


def test_a_reading_of_an_unknown_scan_and_a_scan_named_twice_are_refused() -> None:
    with pytest.raises(LabelError, match="not in the cohort"):
        adjudication.settle(pd.Series(["s"]), readings=events(("t", "A", "normal")), decisions=events())
    with pytest.raises(LabelError, match="twice"):
        adjudication.settle(pd.Series(["s", "s"]), readings=events(), decisions=events())


def test_no_label_comes_from_a_report_before_an_agreement_is_written(tmp_path: Path) -> None:
    lexicon, path = load_lexicon("en"), tmp_path / "agreement.csv"
    ids = [f"s{at}" for at in range(8)]
    labels = pd.Series(["positive", "negative"] * 4, ids)
    read = events(*((scan, who, ["abnormal", "normal"][at % 2]) for at, scan in enumerate(ids[:6]) for who in "AB"))
    settled = adjudication.settle(pd.Series(ids), readings=read, decisions=events(), reports=labels)
    with pytest.raises(LabelError, match="no such file"):
        adjudication.cohort_labels(settled, agreement=path, lexicon=lexicon, min_scans=6)

    matrix = readings.reading_matrix(read)
    reviewed = adjudication.image_review(settled)
    patients = pd.Series(ids, ids)
    table = agreement.agreement_table(matrix, patients, reports=labels, reviewed=reviewed, seed=1, n_boot=100)
    agreement.write_agreement(path, table[:1], lexicon)
    with pytest.raises(LabelError, match="expected one row 'report vs image review', found 0"):
        adjudication.cohort_labels(settled, agreement=path, lexicon=lexicon, min_scans=6)
    agreement.write_agreement(path, table, lexicon)
    with pytest.raises(LabelError, match="6 scans were compared; expected at least 50"):
        adjudication.cohort_labels(settled, agreement=path, lexicon=lexicon)
    with pytest.raises(LabelError, match="another lexicon"):
        adjudication.cohort_labels(settled, agreement=path, lexicon=load_lexicon("ko"), min_scans=6)
    found = adjudication.cohort_labels(settled, agreement=path, lexicon=lexicon, min_scans=6)
    assert list(found["metastasis"]) == [1, 0] * 4
    assert list(found["label_source"]) == ["image review, 2 readers"] * 6 + ["report"] * 2


def test_labels_of_image_review_need_no_agreement(tmp_path: Path) -> None:
    read = events(("s", "A", "normal"), ("s", "B", "normal"))
    settled = adjudication.settle(pd.Series(["s", "t"]), readings=read, decisions=events())
    found = adjudication.cohort_labels(settled, agreement=tmp_path / "no.csv", lexicon=load_lexicon("en"))
    assert list(found["scan_id"]) == ["s"]


def test_review_counts_where_it_contradicts_the_report_and_the_queue_tells_no_reading() -> None:
    read = events(("s", "A", "normal"), ("s", "B", "normal"), ("t", "A", "normal"), ("t", "B", "abnormal"))
    settled = adjudication.settle(
        pd.Series(["s", "t"]), readings=read, decisions=events(), reports=pd.Series({"s": "positive"})
    )
    assert adjudication.image_review(settled).to_dict() == {"s": "normal"}
    queue = adjudication.adjudication_queue(settled)
    assert list(queue["scan_id"]) == ["s", "t"] and list(queue.columns) == ["scan_id", "reason"]


def test_a_sample_is_whole_patients_and_the_same_for_every_reader() -> None:
    ids, patients = [f"s{at}" for at in range(30)], [f"p{at // 2}" for at in range(30)]
    drawn = agreement.reviewed_sample(ids, patients, 9, seed=4)
    assert set(drawn) == set(agreement.reviewed_sample(ids[::-1], patients[::-1], 9, seed=4))
    assert len(drawn) == 10 and len({patients[ids.index(scan)] for scan in drawn}) == 5
    assert drawn != agreement.reviewed_sample(ids, patients, 9, seed=5)
    assert len(agreement.reviewed_sample(ids, patients, 99, seed=1)) == 30
    with pytest.raises(LabelError):
        agreement.reviewed_sample(ids, patients, 0, seed=1)


# ------------------------------------------------------------------------------------------------ panel
IDS = [f"s{at}" for at in range(5)]


def panel_of(log: Path, reader: str = "A", **options: bool) -> ReviewPanel:
    return ReviewPanel(
        IDS, lambda scan_id: make_scan(scan_id, seed=int(scan_id[1:])), log=log, reader=reader, **options
    )


def test_each_click_is_on_disk_at_once_and_a_new_kernel_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    panel = panel_of(log)
    first, second = panel.order[:2]
    panel.regions["ribs"].click()
    panel.buttons["abnormal"].click()
    assert said(log) == {(first, "A"): "abnormal"} and panel.shown == second
    assert readings.current_readings(read_log(log))["regions"].iloc[0] == "ribs"
    panel.regions["skull"].click()
    again = panel_of(log)
    assert again.shown == second and again.marked == ("skull",) and again.progress.value == 1


def test_undo_takes_back_click_by_click_and_shows_the_scan(tmp_path: Path) -> None:
    panel = panel_of(tmp_path / "log.csv")
    first = panel.shown
    panel.mark("ribs")
    panel.read("abnormal")
    panel.undo()
    assert panel.shown == first and panel.marked == ("ribs",) and said(tmp_path / "log.csv") == {}
    panel.undo()
    assert panel.marked == () and panel.back.disabled
    panel.undo()
    assert panel.shown == first


def test_keys_do_what_the_buttons_do(tmp_path: Path) -> None:
    panel = panel_of(tmp_path / "log.csv")
    order = panel.order
    for key in ("3", "a", "n", "U", "z", "?", "9"):
        panel.keys.value = key
    assert said(tmp_path / "log.csv") == {(order[0], "A"): "abnormal", (order[1], "A"): "normal"}
    assert panel.shown == order[2] and panel.keys.value == ""


def test_two_readers_read_apart_in_orders_of_their_own(tmp_path: Path) -> None:
    many = [f"s{at}" for at in range(50)]
    assert shuffled(many, "A") != shuffled(many, "B") and sorted(shuffled(many, "A")) == sorted(many)
    a, b = panel_of(tmp_path / "log.csv", "A"), panel_of(tmp_path / "log.csv", "B")
    for reading in ("abnormal", "normal", "normal", "unsure", "normal"):
        a.read(reading)
    assert a.shown == "" and all(button.disabled for button in a.buttons.values()) and "All scans" in a.heading.value
    a.read("normal")
    b.undo()
    assert b.progress.value == 0 and len(said(tmp_path / "log.csv")) == 5


def test_a_normal_scan_has_no_lesion_region(tmp_path: Path) -> None:
    panel = panel_of(tmp_path / "log.csv")
    panel.mark("ribs")
    panel.read("normal")
    assert readings.current_readings(read_log(tmp_path / "log.csv"))["regions"].iloc[0] == ""


def test_the_pictures_are_the_views_hot_is_dark(tmp_path: Path) -> None:
    panel = panel_of(tmp_path / "log.csv")
    scan = make_scan(panel.shown, seed=int(panel.shown[1:]))
    for view in scan.views:
        picture = np.asarray(Image.open(io.BytesIO(panel.pictures[view.name].value)))
        assert picture.shape == view.counts.shape
        assert picture[view.counts == view.counts.max()].max() < picture[view.counts == 0].min() == 255
    before = panel.pictures["anterior"].value
    panel.black.value = 0.3
    assert panel.pictures["anterior"].value != before


def test_a_view_that_is_not_there_has_no_caption_either(tmp_path: Path) -> None:
    one = make_scan("s1")
    lone = Scan("s1", one.anterior, None)
    panel = ReviewPanel(["s1"], lambda scan_id: lone, log=tmp_path / "log.csv", reader="A")
    assert [panel.films[view].layout.display for view in ("anterior", "posterior")] == [None, "none"]
    panel.read("normal")
    assert panel.shown == "" and {film.layout.display for film in panel.films.values()} == {"none"}


def test_a_scan_that_cannot_be_read_is_told_of_and_passed_over(tmp_path: Path) -> None:
    def load(scan_id: str) -> object:
        raise ScanError("no_file", "no such file", path="<x>.dcm")

    panel = ReviewPanel(["s1"], load, log=tmp_path / "log.csv", reader="A")  # type: ignore[arg-type]
    assert "cannot be shown" in panel.heading.value and "<x>" not in panel.heading.value
    panel.read("unsure")
    assert said(tmp_path / "log.csv") == {("s1", "A"): "unsure"}


def test_adjudication_is_kept_apart_from_reading(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    judge = panel_of(log, "J", adjudicate=True)
    judge.read("abnormal")
    assert said(log) == {} and list(readings.current_decisions(read_log(log))["scan_id"]) == [judge.order[0]]
    nothing = ReviewPanel([], make_scan, log=log, reader="J", adjudicate=True)
    assert nothing.shown == ""


def test_without_a_reader_it_is_a_note_and_writes_nothing(tmp_path: Path) -> None:
    panel = panel_of(tmp_path / "log.csv", "")
    bundle = panel._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/markdown"} and "5 scans" in bundle["text/markdown"]
    assert not (tmp_path / "log.csv").exists()
    with pytest.raises(LabelError, match="code name"):
        panel_of(tmp_path / "log.csv", "Hong Gildong")
    with pytest.raises(LabelError, match="no scan"):
        ReviewPanel([], make_scan, log=tmp_path / "log.csv", reader="A")


def test_the_panel_of_a_manifest_shows_neither_label_nor_report(small_cohort: SmallCohort, tmp_path: Path) -> None:
    panel = notebook.manifest_panel(small_cohort.manifest, log=tmp_path / "log.csv", reader="A")
    assert sorted(panel.order) == sorted(small_cohort.df["scan_id"])
    state = "".join(f"{widget.get_state()}" for widget in everything_in(panel.panel))
    assert panel.shown in state and "metastasis" not in state and "fabricated" not in state
    assert bytes(panel.pictures["anterior"].value).startswith(b"\x89PNG")


def everything_in(widget: widgets.Widget) -> Iterator[widgets.Widget]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from everything_in(child)


def test_the_notebook_is_one_that_runs(small_cohort: SmallCohort, tmp_path: Path) -> None:
    path = notebook.write_review_notebook(
        tmp_path / "review_A.ipynb",
        manifest=small_cohort.manifest,
        log=tmp_path / "log.csv",
        reader="A",
        scan_ids=["s0001"],
    )
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    names: dict[str, object] = {}
    for reader in "AB":
        append_event(tmp_path / "log.csv", reader=reader, scan_id="s0001", action="read", reading="normal")
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile(cell["source"], "cell", "exec"), names)
    assert names["scan_ids"] == ["s0001"] and list(names["matrix"].columns) == ["A", "B"]  # type: ignore[attr-defined]


def test_in_a_cohort_nobody_reads_without_a_front_end_and_strangers_do_not_count(
    small_cohort: SmallCohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort, root = small_cohort.df.assign(report_label=["positive", "negative"] * 4), small_cohort.root
    panel = notebook.cohort_panel(cohort, root, reader="A", n_review=3, seed=1)
    assert panel.panel is None and "set `reader`" in panel.note and len(panel.order) == 3
    assert [len(table) for table in notebook.cohort_agreement(cohort, root, seed=1)] == [0, 0]
    monkeypatch.setattr(notebook, "has_front_end", lambda: True)
    panel = notebook.cohort_panel(cohort, root, reader="A", n_review=3, seed=1)
    assert set(panel.order) == set(notebook.cohort_panel(cohort, root, reader="B", n_review=3, seed=1).order)
    for scan_id, other in zip(cohort["scan_id"], ["abnormal", "normal"] * 4, strict=True):
        for reader in "AB":
            reading = "normal" if (reader, scan_id) == ("B", "s0002") else other
            append_event(root / "review/readings.csv", reader=reader, scan_id=scan_id, action="read", reading=reading)
    append_event(root / "review/readings.csv", reader="A", scan_id="elsewhere", action="read", reading="normal")
    table, differing = notebook.cohort_agreement(cohort, root, seed=1)
    rows = table.set_index("comparison")
    assert rows.loc["A vs B", "n"] == 8 and rows.loc["A vs B", "observed"] == 7 / 8
    assert list(differing["scan_id"]) == ["s0002"]
