"""P13, P14, P23: no identity of a patient leaves, nothing is reached over a network, the data are left as they were.

The whole way is gone once, with canaries in every place that may hold an identity: ingest, check, audit, run (all
five notebooks, with readers' boxes), report, verify, archive, export, predict, rerun. It is slow; the fast test goes
the way without training.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from canaries import PREFIX, canary, hits, hits_in, planted_folder, planted_reports
from PIL import Image, PngImagePlugin

from bonescan_utils.files import read_json, read_text_csv, write_csv

ROOT = Path(__file__).parents[1]
SETTINGS = (
    "seed=1 weights=random arm=proposed arms=vgg16 image_height=64 image_width=64 copies=0 epochs=1 n_boot=100"
    " n_examples=1 n_robustness=2 n_sanity=0 n_jobs=1 methods=focused_gradcam,gradcam"
).split()


@dataclass
class Way:
    """One way through the commands: where things are, and what the commands said."""

    home: Path
    pacs: Path
    cohort: Path
    project: Path
    said: bytes = b""
    codes: dict[str, int] = field(default_factory=dict)

    @property
    def manifest(self) -> Path:
        return self.cohort / "m.csv"

    def bonescan(self, *arguments: str | Path, guarded: bool = False) -> None:
        """Runs a command as a user whose name and folders are canaries."""
        user = canary("user")
        here = [str(ROOT)] + [str(ROOT / "tests" / "guard")] * guarded
        environment = os.environ | {
            "HOME": str(self.home), "USER": user, "LOGNAME": user, "PYTHONPATH": os.pathsep.join(here[::-1]),
            "GUARD_LOG": str(self.home / "guard.log"), "GUARD_DATA": str(self.cohort), "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1", "BONESCAN_OFFLINE": "1",
        }  # fmt: skip
        command = [sys.executable, "-m", "bonescan_utils.cli", *map(str, arguments)]
        done = subprocess.run(command, cwd=self.project, env=environment, capture_output=True, check=False)
        said = done.stdout + b"\n" + done.stderr
        self.codes[str(arguments[0])] = done.returncode
        # paths that the user typed are said back to the user; all else must not hold a canary
        typed = {str(self.cohort), *(str(argument) for argument in arguments if isinstance(argument, Path))}
        for path in sorted(typed, key=len, reverse=True):
            said = said.replace(path.encode(), b"<typed>")
        self.said += f"\n== {arguments[0]}: {done.returncode}\n".encode() + said


def set_out(base: Path, n: int) -> Way:
    """Makes the export of a PACS, the project, and a home."""
    way = Way(base / canary("home"), base / "pacs", base / canary("folder of the cohort"), base / canary("project"))
    for folder in (way.home, way.cohort, way.project / "reports"):
        folder.mkdir(parents=True)
    planted_folder(way.pacs, n)
    planted_reports(base / "reports.csv", n)
    shutil.copytree(ROOT / "notebooks", way.project / "notebooks", ignore=shutil.ignore_patterns(".*"))
    return way


def ingest(way: Way) -> None:
    """Goes from files and reports to a manifest."""
    reports, labels = way.pacs.parent / "reports.csv", way.home / "labels.csv"
    way.bonescan("label", reports, "--out", labels)
    way.bonescan(
        "ingest", way.pacs, "--out", way.manifest, "--key", way.home / "keys" / "k", "--reports", labels, "--jobs", "1"
    )


def label(way: Way) -> None:
    """Puts labels into the manifest, and columns that name people, as a hospital might."""
    df = read_text_csv(way.manifest)
    positive = df["report_label"].map({"positive": "1", "negative": "0"})
    assert positive.notna().all() and positive.nunique() == 2
    more = {"ward_nurse": canary("extra column"), "notes": canary("notes column"), canary("column name"): "x"}
    write_csv(way.manifest, df.assign(metastasis=positive, label_source="report and review", **more))


def box(way: Way) -> Path:
    """Writes lesions boxed by a reader, in a folder of its own."""
    path, scans = way.home / canary("folder of boxes") / "boxes.csv", read_text_csv(way.manifest)["scan_id"].head(12)
    path.parent.mkdir()
    drawn = {"view": "anterior", "x0": "10", "y0": "30", "x1": "14", "y1": "40"}
    about = {"label": canary("label of a box"), "reader": canary("reader")}
    write_csv(path, pd.DataFrame({"scan_id": scans}).assign(**drawn, **about))
    return path


# ------------------------------------------------------------------------------------------- the search itself
def test_the_search_finds_what_is_hidden(tmp_path: Path) -> None:
    word = canary("here")
    from matplotlib.figure import Figure

    # What is drawn is not searched for, as pixels or as the glyphs of a PDF: figures draw what stands in tables.
    Figure().savefig(tmp_path / "figure.pdf", metadata={"Title": word})
    about = PngImagePlugin.PngInfo()
    about.add_text("Comment", word, zip=True)
    Image.new("L", (4, 4)).save(tmp_path / "text.png", pnginfo=about)
    np.savez_compressed(tmp_path / "x.npz", names=np.array([word]))
    (tmp_path / "x.gz").write_bytes(gzip.compress(word.encode()))
    for offset in range(3):
        (tmp_path / f"b{offset}").write_bytes(base64.b64encode(b"x" * offset + word.encode() + b"tail"))
    (tmp_path / "u16").write_bytes(word.encode("utf-16"))
    page = base64.b64encode((tmp_path / "text.png").read_bytes()).decode()
    (tmp_path / "page.html").write_text(f'<img src="data:image/png;base64,{page}">')
    for path in sorted(tmp_path.iterdir()):
        assert list(hits(path.name, path.read_bytes())), path.name
    assert not list(hits("clean", b"QZJ XVK" * 100))


# ------------------------------------------------------------------------------------------- without training
def test_p13_no_identity_leaves_before_training(tmp_path: Path) -> None:
    way = set_out(tmp_path, 4)
    ingest(way)
    assert way.codes == {"label": 0, "ingest": 2} and len(read_text_csv(way.manifest)) == 4
    assert hits_in(way.cohort) == [], "manifest, quarantine, flow and images"
    label(way)
    manifest = way.manifest.read_bytes()
    way.bonescan("check", way.manifest)
    way.bonescan("audit", way.manifest, "--jobs", "1")
    assert way.codes["check"] == 0 and way.codes["audit"] in (0, 2), way.said.decode()
    assert hits_in(way.cohort, without=(way.manifest,)) == [] and way.manifest.read_bytes() == manifest
    assert list(hits("said", way.said)) == []


def test_p13_a_manifest_made_by_hand_brings_its_ids_and_paths_and_nothing_else(tmp_path: Path) -> None:
    from bonescan_utils.cohort_build import select_scans
    from bonescan_utils.manifest import COLUMNS

    rows = pd.DataFrame([dict.fromkeys(COLUMNS, "") for _ in range(24)])
    rows = rows.assign(
        scan_id=[f"s{i}" for i in range(24)], patient_id=[f"p{i}" for i in range(24)], age=60.0, anterior="a.dcm",
        metastasis=[i % 2 for i in range(24)], ward=canary("ward"), tracer="MDP",
    )  # fmt: skip
    table = select_scans(rows, seed=1).table
    assert list(table) == [*COLUMNS, "tracer"]


# ------------------------------------------------------------------------------------------- the whole way
@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Way:
    way = set_out(tmp_path_factory.mktemp("whole"), 30)
    ingest(way)
    label(way)
    way.bonescan("check", way.manifest)
    way.bonescan("audit", way.manifest, "--jobs", "1")
    before = snapshot(way.cohort)
    settings = [part for setting in [*SETTINGS, f"boxes={box(way)}"] for part in ("-p", setting)]
    way.bonescan("run", "--profile", "quick", "--manifest", way.manifest, "--run", "tiny", *settings, guarded=True)
    assert way.codes["run"] == 0, way.said.decode()[-3000:]
    way.bonescan("report", "tiny", guarded=True)
    way.bonescan("verify", "tiny", guarded=True)
    way.bonescan("archive", "tiny", "--out", way.project / "crate", guarded=True)
    way.bonescan("export", "tiny", "--journal", "elsevier", "--out", way.project / "paper", guarded=True)
    out = way.project / "scored"
    way.bonescan("predict", way.pacs, "--run", "tiny", "--out", out, "--dicom", guarded=True)
    way.bonescan("rerun", "tiny", "--run", "again", guarded=True)
    way.bonescan("doctor", guarded=True)
    assert snapshot(way.cohort) == before, "the data folder is left as it was"
    return way


def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
    """Returns time of change and hash of every file and folder."""
    return {
        path.relative_to(folder).as_posix(): (
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "",
        )
        for path in [folder, *folder.rglob("*")]
    }


@pytest.mark.slow
def test_p13_no_identity_leaves_a_whole_run(whole: Way) -> None:
    ended = {name: whole.codes[name] for name in ("report", "verify", "archive", "export", "predict", "rerun")}
    assert ended == dict.fromkeys(ended, 0) | {"predict": 2}, whole.said.decode()[-3000:]
    left_out = [whole.project / "notebooks", whole.project / "scored.links.csv"]
    left_out += whole.project.glob("reports/.*.whereabouts.json")
    left_out += whole.project.glob("scored/*.dcm")  # filed under the patient of the source, by design
    assert len(left_out) > 10, "the DICOM objects were written"
    assert hits_in(whole.project, without=tuple(left_out)) == []
    assert hits_in(whole.cohort, without=(whole.manifest,)) == []
    assert list(hits("said", whole.said)) == []


@pytest.mark.slow
def test_p13_an_archive_holds_no_whereabouts(whole: Way) -> None:
    names = [path.name for path in (whole.project / "crate").rglob("*")]
    assert "ro-crate-metadata.json" in names and not [name for name in names if "whereabouts" in name]
    kept = read_json(whole.project / "reports/.tiny.whereabouts.json")
    assert set(kept) == {"manifest", "boxes"} and PREFIX in kept["boxes"], "it names folders, so it stays"


@pytest.mark.slow
def test_p15_ids_are_no_part_of_a_path(whole: Way) -> None:
    ids = set(read_text_csv(whole.manifest)["scan_id"]) | set(read_text_csv(whole.manifest)["patient_id"])
    names = [path.relative_to(whole.project).as_posix() for path in whole.project.rglob("*")]
    assert not [name for name in names if any(one in name for one in ids)]


@pytest.mark.slow
def test_p23_a_whole_run_needs_no_network_and_writes_nothing_to_the_data(whole: Way) -> None:
    assert not (whole.home / "guard.log").exists(), (whole.home / "guard.log").read_text()


@pytest.mark.slow
def test_p14_a_run_says_that_burned_in_text_is_unknown(whole: Way) -> None:
    assert set(read_text_csv(whole.manifest)["burned_in"]) == {"unknown"}
    text = (whole.project / "reports/tiny/report.html").read_text(encoding="utf-8")
    assert re.search(r"burned[ -]in[^.]*unknown|unknown[^.]*burned[ -]in", text, re.IGNORECASE)


@pytest.mark.slow
def test_the_record_of_a_run_names_no_folder(whole: Way) -> None:
    record = read_json(whole.project / "reports/tiny/run.json")
    assert record["config"]["manifest"] == record["steps"][0]["parameters"]["manifest"] == "m.csv"
    assert record["config"]["boxes"] == record["steps"][4]["parameters"]["boxes"] == "boxes.csv"
    assert "--manifest m.csv" in record["command"] and PREFIX not in str(record)


def test_p23_the_guard_sees_what_it_should(tmp_path: Path) -> None:
    way = Way(tmp_path, tmp_path, tmp_path / "data", tmp_path)
    way.cohort.mkdir()
    tries = (
        "import socket, pathlib\n"
        "for act in (lambda: socket.create_connection(('example.org', 80), 1),"
        " lambda: socket.socket().connect(('192.0.2.1', 80)),"
        " lambda: pathlib.Path('data/x').write_text('x'), lambda: pathlib.Path('data/y').mkdir(),"
        " lambda: pathlib.Path('z').write_text('fine')):\n"
        "    try: act()\n"
        "    except PermissionError: pass\n"
    )
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "tests" / "guard"), "GUARD_LOG": str(tmp_path / "log"), "GUARD_DATA": str(way.cohort),
    }  # fmt: skip
    subprocess.run([sys.executable, "-c", tries], cwd=tmp_path, env=environment, check=True)
    log = (tmp_path / "log").read_text().splitlines()
    assert [line.split()[0] for line in log] == ["socket.getaddrinfo", "socket.connect", "write", "os.mkdir"]
    assert (tmp_path / "z").exists() and not list(way.cohort.iterdir())
