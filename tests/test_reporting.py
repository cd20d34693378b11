"""The report of a run: what it says, that all of it is there, and that no text of a manifest becomes markup."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from browser import CHROMIUM, browser
from fabricated_run import HOSTILE, make_record, make_run

from bonescan_utils import cli
from bonescan_utils.files import write_csv, write_json
from bonescan_utils.profiles import StudyError
from bonescan_utils.reporting import cards
from bonescan_utils.reporting.catalogue import drawings_of, numbered
from bonescan_utils.reporting.limits import limitations
from bonescan_utils.reporting.methods import methods
from bonescan_utils.reporting.page import left_out, report_page, write_report
from bonescan_utils.reporting.records import RunRecord, read_run


class Page(HTMLParser):
    """What is in a page: its tags, ids, the targets of its links, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.handlers: list[str] = []
        self.said = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        found = dict(attrs)
        self.ids += [str(found["id"])] if "id" in found else []
        self.targets += [str(found[name]) for name in ("href", "src") if name in found]
        self.handlers += [name for name in found if name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.said += data


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "hostile", hostile=True, run=f"r{HOSTILE}")


@pytest.fixture(scope="module")
def page(hostile: Path) -> Page:
    return Page(report_page(read_run(hostile)))


# -------------------------------------------------------------------------------------------------- page
def test_texts_of_a_manifest_are_text_and_nothing_else(page: Page) -> None:
    assert page.tags["script"] == 0 and not page.handlers
    assert page.said.count("alert('x')") > 5, "shown where it belongs: run, flow, group, label source"
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in page.targets)


def test_every_link_leads_somewhere_and_no_place_has_two_names(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    assert {target[1:] for target in page.targets if target.startswith("#")} <= set(page.ids)


def test_every_table_and_figure_of_the_run_is_there(hostile: Path, page: Page) -> None:
    run = read_run(hostile)
    listed = re.findall(r"tables/(\w+)\.csv", page.said)
    for name in run.table_names():
        assert f"tab-{name}" in page.ids or name in listed, name
    for name in run.figure_names():
        assert f"fig-{name}" in page.ids, name
    assert "tab-unheard_of" in page.ids and "trivial_predictions" in listed
    assert page.tags["img"] == len(numbered(run)[0]) == 5  # the picture, and four drawn from tables


def test_a_figure_without_its_table_is_said_to_be_left_out(hostile: Path) -> None:
    run = read_run(hostile)
    assert any("tables/net_benefit.csv" in line for line in left_out(run))
    assert not any("flow" in line for line in left_out(run))


def test_two_tables_that_are_missing_are_both_named(hostile: Path) -> None:
    assert any("tables/roc.csv, tables/roc_band.csv" in line for line in left_out(read_run(hostile)))


def test_every_figure_made_from_tables_can_be_drawn_again(tmp_path: Path) -> None:
    drawn = {drawing.name: drawing for drawing in drawings_of(read_run(make_run(tmp_path / "run"))) if drawing.needs}
    assert "robustness" in drawn and all(drawing.draw for drawing in drawn.values())


def test_robustness_is_drawn_from_its_table(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    rows = [("unperturbed", 0.9), ("flip", 0.8), ("only border", 0.5)]
    table = pd.DataFrame(rows, columns=["perturbation", "estimate"]).assign(arm="proposed", level=float("nan"), n=60)
    table = table.assign(ci_low=table["estimate"] - 0.1, ci_high=table["estimate"] + 0.1)
    write_csv(folder / "tables" / "robustness.csv", table)
    run = read_run(folder)
    (drawing,) = (each for each in drawings_of(run) if each.name == "robustness")
    figure = drawing.drawn(run)
    assert figure is not None
    assert [label.get_text() for label in figure.axes[-1].get_yticklabels()] == ["Flip", "Only border"]


def test_rows_of_scans_are_not_printed(page: Page) -> None:
    assert "s0001" not in page.said and "p0001" not in page.said


def test_the_head_says_what_was_found_and_on_what(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run"))
    rows = run.table("metrics_proposed").set_index("metric")
    text = Page(report_page(run)).said
    assert f"{rows.loc['AUROC', 'estimate']:.2f} (" in text and "60 test scans, 30 of them" in text
    assert "Synthetic phantoms, not patients" in text and "2026-01-02 03:04 UTC" in text


def test_a_run_that_was_cut_short_says_so(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", status="failed")
    for path in (folder / "tables").iterdir():
        path.unlink()
    (folder / "cohort.csv").unlink()
    text = Page(report_page(read_run(folder))).said
    assert "This run is failed, not finished." in text and "No test results on record." in text


def test_the_report_is_the_same_again(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    first = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == first


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_the_page_in_a_browser(hostile: Path, tmp_path: Path) -> None:
    address = write_report(hostile, tmp_path / "report.html")
    with browser(tmp_path / "profile") as tab:
        for width in (1280, 390):
            tab.open(address, width=width)
            assert tab.requests() == [address.as_uri()]
            assert tab.complaints() == []
            assert tab.value("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
        sizes = tab.value("[...document.images].map(i => [i.naturalWidth, i.clientWidth, i.clientHeight])")
        assert len(sizes) == 5 and all(min(size) > 0 for size in sizes)
        missing = "[...document.links].filter(a => !document.getElementById(a.hash.slice(1))).length"
        assert tab.value("document.links.length") > 50 and tab.value(missing) == 0
        printed = tab.pdf()
    assert printed.startswith(b"%PDF") and re.search(rb"/MediaBox\s*\[0 0 59[45]\.\d* 84[12]", printed), "A4"


# ------------------------------------------------------------------------------------------------- words
def record_of(**changes: object) -> RunRecord:
    record = make_record()
    for name in ("config", "notes"):
        record[name] |= changes.pop(name, {})
    return RunRecord(Path("nowhere"), record | changes)


def said_of(run: RunRecord) -> str:
    return " ".join(part.text for part in methods(run))


def test_methods_follow_the_settings() -> None:
    plain = said_of(record_of())
    assert "192 x 96" in plain and "seed 7" in plain and "100 resamples" in plain and "cross-validation" not in plain
    changed = said_of(record_of(config={"folds": 5, "layout": "anterior", "image_height": 320, "n_scans": 20}))
    assert "5-fold cross-validation" in changed and "anterior view alone" in changed and "320 x 96" in changed
    assert "20 were drawn at random" in changed


def test_methods_describe_the_arm_that_was_trained(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run"))
    assert "VGG16 frozen up to block3_conv3, a trained head that judges each place by itself" in said_of(run)
    multilevel = record_of(weights={"vgg16_multilevel": {"weights": "imagenet"}})
    assert "frozen VGG16, the mean activations of block3_conv3" in said_of(multilevel)
    finetuned = record_of(weights={"vgg16_finetuned": {"weights": "imagenet"}})
    assert "VGG16 trained from" in said_of(finetuned) and "AdamW" in said_of(finetuned)


def test_methods_tell_arms_trained_alike_together_and_what_the_arm_is_compared_with() -> None:
    told = {"weights": "imagenet"}
    frozen = said_of(record_of(weights={"proposed": told, "resnet50": told}))
    assert "compared with frozen convolutional backbones" in frozen
    full = said_of(
        record_of(weights=dict.fromkeys(["proposed", "vgg16", "vgg16_finetuned", "xception_finetuned"], told))
    )
    assert "compared with frozen and fine-tuned convolutional backbones" in full
    assert "VGG16 fine-tuned, Xception fine-tuned: AdamW" in full and full.count("AdamW") == 2
    assert "compared with" not in said_of(record_of(weights={"proposed": told})).split("Yim")[0]


def test_only_phantoms_are_called_synthetic() -> None:
    patients = record_of(notes={"synthetic": False})
    both = [said_of(run) + " ".join(limitations(run)) for run in (record_of(), patients)]
    assert "phantom" in both[0] and "phantom" not in both[1].replace("phantoms are", "")
    assert cards.AUTHOR in dict(cards.data_card(patients)).values()
    assert cards.AUTHOR not in dict(cards.data_card(record_of())).values()


def test_arms_from_random_weights_are_a_limitation() -> None:
    assert any(line.startswith("ResNet50 started from random numbers") for line in limitations(record_of()))
    trained = record_of(weights={"proposed": {"weights": "imagenet"}})
    assert not any("random numbers" in line or "8-bit" in line for line in limitations(trained))


def test_a_card_in_markdown_is_text_only() -> None:
    text = cards.as_markdown("Card", [("Sites", HOSTILE + " [x](http://evil.example) `a` | b")])
    assert "<script>" not in text and "\\[x\\]" in text and "\\`a\\`" in text and "\\|" in text


# ------------------------------------------------------------------------------------------------ records
def test_a_report_needs_no_tensorflow() -> None:
    script = "import sys, bonescan_utils.reporting.export; print({'tensorflow', 'keras'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "set()"


def test_a_column_of_numbers_without_any_is_read_as_numbers(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run"))
    assert run.table("auroc_by_site")["estimate"].isna().all()
    assert run.has("flow") and not run.has("nothing")


def test_a_folder_without_a_run_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StudyError, match=r"run\.json"):
        read_run(tmp_path)
    assert cli.main(["report", str(tmp_path)]) == 2
    assert "run.json" in capsys.readouterr().err


def test_a_record_that_lacks_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"run": "x", "config": {}}')
    with pytest.raises(StudyError, match=r"lacks .*manifest, weights"):
        read_run(tmp_path)


def test_a_damaged_table_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "tables" / "flow.csv").write_text("step,n\na,1,2\n")
    assert cli.main(["report", str(folder)]) == 2
    assert "flow.csv, line 2" in capsys.readouterr().err


def test_report_command_writes_where_it_is_told(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    assert cli.main(["report", str(folder), "--out", str(tmp_path / "a.html")]) == 0
    assert (tmp_path / "a.html").stat().st_size > 10_000 and not (folder / "report.html").exists()


def test_an_empty_table_is_no_table(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    write_csv(folder / "tables" / "paired_tests.csv", pd.DataFrame(columns=["arm_a", "arm_b"]))
    assert "tab-paired_tests" not in Page(report_page(read_run(folder))).ids


def test_p22_the_report_lists_the_hash_of_every_figure_of_this_run_and_of_no_other(tmp_path: Path) -> None:
    made = make_run(tmp_path / "run")
    for name in ("mine.png", "mine.pdf", "stale.png"):
        (made / "figures" / name).write_bytes((made / "figures" / "montage.png").read_bytes() + name.encode())
    outputs = [{"path": f"figures/{name}", "rows": None, "sha256": "0" * 64} for name in ("mine.png", "mine.pdf")]
    outputs += [{"path": name, "rows": None, "sha256": "0" * 64} for name in ("cohort.csv", "tables/metrics.csv")]
    write_json(made / "run.json", make_record(steps=[{"name": "01_cohort", "status": "done", "outputs": outputs}]))
    text = report_page(read_run(made)).replace("<wbr>", "")
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (made / "figures").iterdir()}
    assert hashes["mine.png"] in text and hashes["mine.pdf"] in text
    assert hashes["stale.png"] not in text and "stale" not in text
    write_json(made / "run.json", make_record(steps=[{"name": "01_cohort", "status": "not done"}]))
    assert read_run(made).cohort is None, "the cohort of an older run in the same folder"
