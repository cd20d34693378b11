"""Labelled: from files of a PACS, report text and the clicks of two readers to a labelled manifest."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from vendor_files import siemens_ecam

from bonescan_utils.cli import main
from bonescan_utils.files import read_csv, read_text_csv
from bonescan_utils.labelling.labelled import label_manifest
from bonescan_utils.labelling.lexicon import load_lexicon
from bonescan_utils.labelling.readings import append_event
from bonescan_utils.labelling.reports import LabelError
from bonescan_utils.manifest import read_manifest

POSITIVE = "IMPRESSION: Multiple bone metastases."
NEGATIVE = "IMPRESSION: No evidence of bone metastasis."
UNCERTAIN = "IMPRESSION: Cannot exclude bone metastasis."
ABNORMAL, NORMAL, UNSURE = "abnormal", "normal", "unsure"
COHORT = [  # report, reader A, reader B -> label and its source, worked out by hand from docs/labelling.md
    (POSITIVE, ABNORMAL, ABNORMAL, (1, "image review, 2 readers")),
    (POSITIVE, ABNORMAL, ABNORMAL, (1, "image review, 2 readers")),
    (NEGATIVE, NORMAL, NORMAL, (0, "image review, 2 readers")),
    (NEGATIVE, NORMAL, NORMAL, (0, "image review, 2 readers")),
    (UNCERTAIN, ABNORMAL, ABNORMAL, (1, "image review, 2 readers")),
    (POSITIVE, ABNORMAL, NORMAL, None),  # readers differ
    (NEGATIVE, ABNORMAL, ABNORMAL, None),  # review differs from the report
    (POSITIVE, ABNORMAL, "", (1, "report and one reader")),
    (POSITIVE, "", "", (1, "report")),
    (NEGATIVE, "", "", (0, "report")),
    (UNCERTAIN, "", "", None),
    ("", NORMAL, NORMAL, (0, "image review, 2 readers")),
]


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Twelve scans, their reports labelled and linked; returns the manifest."""
    rows = []
    for at, (text, *_) in enumerate(COHORT):
        siemens_ecam(tmp_path / f"pacs/{at}", at, patient=f"P{at}")
        rows.append({"accession": f"ACCP{at}1", "text": text})
    pd.DataFrame(rows[::-1]).to_csv(tmp_path / "reports.csv", index=False)
    manifest, labels = tmp_path / "out/m.csv", tmp_path / "labels.csv"
    assert main(["label", str(tmp_path / "reports.csv"), "--lang", "en", "--out", str(labels)]) == 0
    command = ["ingest", str(tmp_path / "pacs"), "--out", str(manifest), "--reports", str(labels), "--jobs", "1"]
    assert main([*command, "--key", str(tmp_path / "keys/k")]) == 0
    assert (read_text_csv(manifest)["metastasis"] == "").all()
    return manifest


def scan_ids(cohort: Path) -> list[str]:
    """Returns the scan of each row of COHORT: the reports were given in the opposite order, after a header."""
    of = dict(zip(*(read_text_csv(cohort)[name] for name in ("report_row", "scan_id")), strict=True))
    return [of[str(2 + len(COHORT) - 1 - at)] for at in range(len(COHORT))]


def read_all(cohort: Path, readers: str = "AB") -> None:
    for scan_id, (_, *said, _) in zip(scan_ids(cohort), COHORT, strict=True):
        for reader, reading in zip("AB", said, strict=True):
            if reading and reader in readers:
                log = cohort.parent / "review/readings.csv"
                append_event(log, reader=reader, scan_id=scan_id, action="read", reading=reading)


def test_a_cohort_of_twelve_from_files_to_labels(cohort: Path) -> None:
    read_all(cohort)
    review, out, lexicon = cohort.parent / "review", cohort.parent / "labelled.csv", load_lexicon("en")
    found = label_manifest(cohort, out, review=review, lexicon=lexicon, min_scans=5)
    expected = {name: end for name, (*_, end) in zip(scan_ids(cohort), COHORT, strict=True) if end}
    df = read_manifest(out)
    assert {row["scan_id"]: (row["metastasis"], row["label_source"]) for row in df.to_dict("records")} == expected
    told = read_csv(cohort.parent / "labelled_labels.csv")
    assert len(told) == 12 and (told["status"] == "settled").sum() == len(expected) == 9
    assert set(read_text_csv(review / "queue.csv")["scan_id"]) == {scan_ids(cohort)[5], scan_ids(cohort)[6]}
    row = read_csv(review / "agreement.csv").set_index("comparison").loc["report vs image review"]
    # of seven scans that both know, one read by A alone, five reports say what readers do; two (5th, 7th) do not
    assert row["n"] == 7 and row["observed"] == pytest.approx(5 / 7)
    assert "12 scans: 9 labelled, 3 left out." in str(found) and "readers differ: 1" in str(found)
    assert (read_text_csv(cohort)["metastasis"] == "").all()


def test_report_labels_alone_do_not_pass_the_gate(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = cohort.parent / "labelled.csv"
    command = ["adjudicate", str(cohort), "--out", str(out), "--lang", "en"]
    assert main(command) == 2 and "found 0" in capsys.readouterr().err
    read_all(cohort)
    assert main(command) == 2 and "scans were compared; expected at least 50" in capsys.readouterr().err
    assert not out.exists() and (cohort.parent / "review/queue.csv").exists()


def test_readers_alone_need_no_reports_and_a_later_decision_counts(
    cohort: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    df = read_text_csv(cohort).drop(columns="report_label")
    df.to_csv(cohort, index=False)
    read_all(cohort)
    out = cohort.parent / "labelled.csv"
    assert main(["adjudicate", str(cohort), "--out", str(out)]) == 0
    first = read_manifest(out).set_index("scan_id")["metastasis"]
    differs = scan_ids(cohort)[5]
    assert len(first) == 7 and differs not in first
    log = cohort.parent / "review/readings.csv"
    append_event(log, reader="C", scan_id=differs, action="adjudicate", reading=NORMAL)
    assert main(["adjudicate", str(cohort), "--out", str(out)]) == 0
    second = read_manifest(out).set_index("scan_id")
    assert dict(second.loc[differs, ["metastasis", "label_source"]]) == {
        "metastasis": 0, "label_source": "adjudicated image review",
    }  # fmt: skip
    assert len(second) == 8 and "A vs B: kappa" in capsys.readouterr().out


def test_outputs_that_cannot_be(cohort: Path, tmp_path: Path) -> None:
    for out, why in ((cohort, "the manifest itself"), (tmp_path / "labelled.csv", "its paths are relative to there")):
        with pytest.raises(LabelError, match=why):
            label_manifest(cohort, out, review=cohort.parent / "review", lexicon=load_lexicon("en"))
    read_text_csv(cohort).drop(columns="report_label").to_csv(cohort, index=False)
    with pytest.raises(LabelError, match="no scan has a label yet: 12 scans: neither report label nor reading"):
        label_manifest(
            cohort, tmp_path / "out/l.csv", review=cohort.parent / "review", lexicon=load_lexicon("en")
        )  # fmt: skip
