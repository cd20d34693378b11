"""P18: what is written is whole or not there; an earlier file survives a full disk, a file-size limit and a kill."""

from __future__ import annotations

import ast
import errno
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import SmallCohort, make_scan
from fabricated_run import make_record, make_run
from matplotlib.figure import Figure
from test_layouts import paraguay
from vendor_files import siemens_ecam

from bonescan_utils.backup import Backup, Saved
from bonescan_utils.dicom import write_dicom
from bonescan_utils.feature_store import write_array
from bonescan_utils.files import write_csv, write_json, write_text
from bonescan_utils.image_store import build_store, open_store
from bonescan_utils.ingest import ingest_folder
from bonescan_utils.ingest.layouts import ingest_layout
from bonescan_utils.ingest.outcome import Outcome
from bonescan_utils.lock import run_lock
from bonescan_utils.profiles import StudyError
from bonescan_utils.run_record import seal_record
from bonescan_utils.seal import write_sealed
from bonescan_utils.style import save_figure
from bonescan_utils.temporaries import remove_stale, temporary

PACKAGE = Path(write_text.__code__.co_filename).parent
LONG = 40_000


def figure(path: Path, seed: int) -> None:
    drawn = Figure(figsize=(2, 2))
    drawn.subplots().plot(np.random.default_rng(seed).random(500))
    save_figure(drawn, path.with_suffix(""), formats=(path.suffix[1:],))


def page(path: Path, seed: int) -> None:
    from bonescan_utils.report import write_page

    notebook = path.with_name("source.ipynb")
    if not notebook.exists():
        nbformat.write(
            nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A\n" + "word " * 999)]), notebook
        )
    write_page(notebook, path, links=[(str(seed), "a.html")])


def executed(path: Path, seed: int) -> None:
    from bonescan_utils.execution import Job, _publish

    running = path.with_name(".running-copy.ipynb")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit[1], limit[1]))
    cell = nbformat.v4.new_markdown_cell(f"{seed} " + "word " * 999)
    try:
        running.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=[cell])))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    try:
        _publish(running, Job(path.parent / "notebooks" / "01.ipynb", path, {}))
    finally:
        running.unlink(missing_ok=True)


def model(path: Path, seed: int) -> None:
    import keras

    from bonescan_utils.arms import get_arm
    from bonescan_utils.models import save_model

    vector = keras.Input((64,))
    network = keras.Model(vector, keras.layers.Dense(64)(vector))
    about = {"arm": get_arm("vgg16"), "source": SimpleNamespace(to_dict=dict), "input_shape": (8, 8, 3)}
    save_model(network, path, SimpleNamespace(**about, seed=seed, best_epoch=0))


WRITERS: dict[str, Callable[[Path, int], object]] = {
    "table.csv": lambda path, seed: write_csv(path, pd.DataFrame({"x": np.arange(LONG // 8) + seed})),
    "record.json": lambda path, seed: write_json(path, {"x": list(range(seed, LONG // 8))}),
    "sealed.json": lambda path, seed: write_sealed(path, {"x": list(range(seed, LONG // 8))}),
    "page.txt": lambda path, seed: write_text(path, str(seed) * LONG),
    "features.npy": lambda path, seed: write_array(path, lambda: iter([np.full((99, 99), seed, "f4")]), (99, 99)),
    "figure.png": figure,
    "figure.pdf": figure,
    "figure.svg": figure,
    "page.html": page,
    "copy.ipynb": executed,
    "scan.dcm": lambda path, seed: write_dicom(
        path, make_scan(seed=seed), patient_id="P1", sex="F", age=50, study_seed="t"
    ),
    "epoch_00001.npz": lambda path, seed: Backup(path.parent, "k").save(Saved(1, {"x": np.full(9999, seed)}, {})),
    "model.keras": model,
}  # fmt: skip
"""File name -> what writes it; another seed gives another content."""


@contextmanager
def no_file_above(n: int) -> Iterator[None]:
    """No file can be written beyond its first n bytes inside the block."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def state(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != "filler"}


@pytest.mark.parametrize("name", WRITERS)
def test_p18_a_file_size_limit_leaves_the_earlier_file(tmp_path: Path, name: str) -> None:
    write, path = WRITERS[name], tmp_path / name
    write(path, 1)
    before = state(tmp_path)
    with pytest.raises(OSError) as caught, no_file_above(300):
        write(path, 2)
    assert caught.value.errno in (errno.EFBIG, errno.ENOSPC) and "no room to write it" in str(caught.value)
    assert state(tmp_path) == before, "the earlier file, and no temporary"
    write(path, 2)
    assert path.read_bytes() != before[name]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 512 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except OSError:
        pytest.skip("no mount here")
    if done.returncode:
        pytest.skip("this user may not mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_p18_a_full_disk_leaves_the_earlier_files(small_disk: Path) -> None:
    for name, write in WRITERS.items():
        folder = small_disk / name.replace(".", "_")
        folder.mkdir()
        write(folder / name, 1)
        before = state(folder)
        with (small_disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError):
            while True:
                if filler.write(bytes(1024)) < 1024:
                    raise OSError("full")
        if name != "copy.ipynb":  # its source would have to be written first
            with pytest.raises(OSError, match=r"no room to write it|are free; make room"):
                write(folder / name, 2)
        assert state(folder) == before, name
        (small_disk / "filler").unlink()
        for path in folder.iterdir():
            path.unlink()


def test_p18_a_store_that_cannot_be_written_leaves_the_earlier_arrays_and_is_none(
    small_cohort: SmallCohort, tmp_path: Path
) -> None:
    used = small_cohort.df.assign(partition="train", age="")
    how = {"size": (64, 32), "n_jobs": 1, "progress": False}
    build_store(used, small_cohort.root, tmp_path / "store", copies=1, **how)
    before = state(tmp_path / "store")
    before.pop("store.json")  # nobody goes by a store that was to be replaced
    with pytest.raises(OSError, match="no room"), no_file_above(3000):
        build_store(used, small_cohort.root, tmp_path / "store", copies=2, **how)
    assert state(tmp_path / "store") == before
    with pytest.raises(FileNotFoundError, match="run notebook 02_preprocessing"):
        open_store(tmp_path / "store")


def test_p18_a_lock_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError), no_file_above(5), run_lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


WRITING = """
import sys, time
from pathlib import Path
from bonescan_utils.files import write_atomic
with write_atomic(Path(sys.argv[1])) as part:
    with part.open("wb") as stream:
        stream.write(bytes(100_000))
        stream.flush()
        print("half", flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize(("number", "leaves"), [(signal.SIGKILL, 1), (signal.SIGINT, 0)])
def test_p18_a_kill_leaves_the_earlier_file_and_the_next_run_cleans_up(
    tmp_path: Path, number: signal.Signals, leaves: int
) -> None:
    path = tmp_path / "deep" / "x.bin"
    write_text(path, "old")
    process = subprocess.Popen(
        [sys.executable, "-c", WRITING, str(path)],
        cwd=PACKAGE.parent, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == b"half\n"
    assert remove_stale(tmp_path) == 0, "its writer is at work"
    process.send_signal(number)
    process.wait()
    assert path.read_text() == "old" and len(list(path.parent.iterdir())) == 1 + leaves
    assert remove_stale(tmp_path) == leaves
    assert list(path.parent.iterdir()) == [path]


def test_p18_only_temporaries_of_dead_writers_are_removed(tmp_path: Path) -> None:
    mine = temporary(tmp_path / "x.csv")
    host = mine.name.split("-")[1]
    gone, reused = (tmp_path / f".tmp-{host}-{mark}-00000000-x.csv" for mark in ("999999999.5", f"{_pid()}.1"))
    names = [".tmp-notes", "x.tmp", ".tmp-other-12-x", ".tmp-000000-1.1-00000000-x.csv"]
    others = [tmp_path / name for name in names]
    for path in [mine, gone, reused, *others]:
        path.write_text("x")
    stale = [gone, reused] if Path("/proc/self/stat").exists() else [gone]
    assert remove_stale(tmp_path) == len(stale)
    assert not any(path.exists() for path in stale) and all(path.exists() for path in [mine, *others])
    old = time.time() - 2 * 86_400
    for path in others:
        os.utime(path, (old, old))
    assert remove_stale(tmp_path) == 1 and not others[-1].exists(), "of another host, after a day"


def _pid() -> int:
    return os.getpid()


def left_by_a_kill(path: Path) -> Path:
    """Makes the file that a writer of `path` leaves when it is killed."""
    host = temporary(path).name.split("-")[1]
    left = path.with_name(f".tmp-{host}-999999999.5-00000000-{path.name}")
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_text("half")
    return left


def test_p18_an_ingest_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    root, out, key = tmp_path / "pacs", tmp_path / "out", tmp_path / "keys" / "k"
    siemens_ecam(root / "1", 1, patient="1")
    paths = [out / "m.csv", out / "images" / "ab" / "x.png", tmp_path / "aside" / "q.csv", key.with_name("k.links.csv")]
    left = [left_by_a_kill(path) for path in paths]
    other = left_by_a_kill(root / "x.dcm")
    ingest_folder(root, out / "m.csv", quarantine=paths[2], key_file=key, n_jobs=1, progress=False)
    assert not any(path.exists() for path in left) and other.exists(), "nothing is touched among the files of a PACS"


def test_p18_an_ingest_of_a_public_layout_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    root, out = paraguay(tmp_path / "paraguay"), tmp_path / "out"
    left = [left_by_a_kill(path) for path in (out / "m_boxes.csv", out / "images" / "ab" / "x.png")]
    ingest_layout(root, out / "m.csv", layout="paraguay", n_jobs=1, progress=False)
    assert not any(path.exists() for path in left)


# ------------------------------------------------------------------------------------ ingest, archive, predictions
def ingest(folder: Path, **more: object) -> Outcome:
    key = folder / "keys" / "k"
    return ingest_folder(folder / "pacs", folder / "out" / "m.csv", key_file=key, n_jobs=1, progress=False, **more)


def test_p18_a_second_writer_into_the_folder_of_an_ingest_or_of_predictions_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bonescan_utils import predict

    siemens_ecam(tmp_path / "pacs" / "1", 1, patient="1")
    holder = rf"process {os.getpid()} on .*another folder with --out.*\.lock"
    monkeypatch.setattr(predict, "find_model", lambda *args, **more: None)
    with run_lock(tmp_path / "out"):
        with pytest.raises(StudyError, match=holder):
            ingest(tmp_path)
        with pytest.raises(StudyError, match=holder):
            ingest_layout(paraguay(tmp_path / "p"), tmp_path / "out" / "m.csv", layout="paraguay", progress=False)
        with pytest.raises(StudyError, match=holder):
            predict.predict_files([tmp_path / "pacs"], arm="a", out=tmp_path / "out")
        assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]
    assert ingest(tmp_path).scans == 1 and not (tmp_path / "out" / ".lock").exists()


def test_p18_an_ingest_on_a_full_disk_leaves_the_earlier_manifest_and_goes_on(tmp_path: Path) -> None:
    siemens_ecam(tmp_path / "pacs" / "1", 1, patient="1")
    ingest(tmp_path)
    before = state(tmp_path / "out")
    (journal,) = (tmp_path / "keys").glob("*.journal")
    for number in (2, 3):
        siemens_ecam(tmp_path / "pacs" / str(number), number, patient=str(number))
    for limit in (300, journal.stat().st_size // 2):
        with pytest.raises((OSError, sqlite3.OperationalError)), no_file_above(limit):
            ingest(tmp_path)
        assert state(tmp_path / "out") == before and not list(tmp_path.rglob(".tmp-*"))
    assert ingest(tmp_path).scans == 3


@pytest.mark.parametrize("part", ["header", "files", "by_study"])
def test_p19_a_damaged_journal_of_an_ingest_is_begun_anew(
    tmp_path: Path, part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    siemens_ecam(tmp_path / "pacs" / "1", 1, patient="1")
    ingest(tmp_path)
    before = state(tmp_path / "out")
    (journal,) = (tmp_path / "keys").glob("*.journal")
    data, at = bytearray(journal.read_bytes()), 0
    if part != "header":  # the root page of a table or an index
        with closing(sqlite3.connect(journal)) as base:
            ((root,),) = base.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (part,)).fetchall()
        at = (root - 1) * 4096
    data[at : at + 4096] = b"\xff" * 4096
    journal.write_bytes(data)
    assert ingest(tmp_path).scans == 1 and state(tmp_path / "out") == before
    assert "is damaged" in capsys.readouterr().out


def test_p18_an_archive_is_whole_or_not_there(tmp_path: Path) -> None:
    from bonescan_utils.crate import archive_run

    pytest.importorskip("rocrate")
    run = make_run(tmp_path / "run")
    (run / "page.html").write_text("x" * LONG)
    seal_record(run, make_record(), root=tmp_path)
    (tmp_path / "crate").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OSError), no_file_above(LONG - 1):
        archive_run(run, tmp_path / "crate")
    assert sorted(tmp_path.rglob("*")) == before, "no half crate, and none of its temporaries"
    assert archive_run(run, tmp_path / "crate") > 1 and (tmp_path / "crate" / "page.html").stat().st_size == LONG


# ---------------------------------------------------------------------------------------------------- lint
DECLARED = {
    ("files.py", "open"): "the one writer",
    ("lock.py", "write_text"): "a lock is made whole by a link, not by a rename",
    ("lock.py", "fdopen"): "the same where a disk knows no links",
    ("execution.py", "open"): "what a kernel says, in a temporary folder",
    ("labelling/readings.py", "open"): "a log that grows by whole lines",
    ("cli.py", "fdopen"): "a traceback, in a temporary file of its own",
}
"""(module, call) that may write beside `write_atomic`, and why."""
WRITES = {"write_text", "write_bytes", "to_csv", "to_parquet", "to_excel", "savefig", "save", "savez",
          "savez_compressed", "copyfile", "copy2", "copytree", "dcmwrite", "save_as", "open_memmap", "fdopen",
          "save_weights", "tofile"}  # fmt: skip


def written_past_the_writer(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Calls that write a file outside of a `with write_atomic(...)`; buffers in memory are no files."""
    inside = {id(below) for node in ast.walk(tree) if isinstance(node, ast.With) and _is_atomic(node)
              for below in ast.walk(node)}  # fmt: skip
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and id(node) not in inside):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        first = ast.unparse(node.args[0]) if node.args else ""
        of_ours = isinstance(node.func, ast.Name) and name in ("write_text", "write_bytes")
        to_memory = name in ("save", "savefig", "save_as", "dcmwrite") and first in ("buffer", "stream", "written")
        as_text = name == "to_csv" and "index" in {word.arg for word in node.keywords} and not node.args
        of_export = ast.unparse(node.func) in ("backup.save",)
        if name in WRITES and not (of_ours or to_memory or as_text or of_export):
            yield name, node.lineno
        if name == "open" and any(_is_mode(arg) for arg in [*node.args, *(word.value for word in node.keywords)]):
            yield name, node.lineno


def _is_atomic(node: ast.With) -> bool:
    return any("write_atomic(" in ast.unparse(item.context_expr) for item in node.items)


def _is_mode(arg: ast.expr) -> bool:
    if isinstance(arg, ast.Constant) and isinstance(arg.value, str):
        return arg.value.strip("bt+") in ("w", "a", "x") or arg.value == "rb+"
    return "O_CREAT" in ast.unparse(arg)


def test_p18_nothing_is_written_past_the_one_writer() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for name, line in written_past_the_writer(ast.parse(path.read_text(encoding="utf-8"))):
            key = (path.relative_to(PACKAGE).as_posix(), name)
            assert key in DECLARED or key[0] in ("lock.py", "files.py"), f"{key[0]}:{line}: {name}"
            found.add(key)
    assert set(DECLARED) <= found, "declared, and no longer there"


@pytest.mark.parametrize(
    ("code", "writes"),
    [
        ("open('x', 'w')", True), ("p.open('ab')", True), ("df.to_csv('x')", True), ("np.save(p, a)", True),
        ("fig.savefig(p)", True), ("model.save(p)", True), ("p.open('rb')", False), ("p.write_text('x')", True),
        ("with write_atomic(p) as part:\n    model.save(part)", False), ("write_text(p, 'x')", False),
        ("model.save(p)\nwith write_atomic(p) as part:\n    pass", True), ("df.to_csv(index=False)", False),
    ],
)  # fmt: skip
def test_the_lint_sees_what_it_should(code: str, writes: bool) -> None:
    assert bool(list(written_past_the_writer(ast.parse(code)))) == writes
