"""The runner on toy notebooks: what is checked first, what is skipped, how each way of failing is told."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from bonescan_utils import room, study
from bonescan_utils.execution import CellError
from bonescan_utils.files import read_json, write_json
from bonescan_utils.lock import run_lock
from bonescan_utils.manifest import write_manifest
from bonescan_utils.outputs import outputs_changed
from bonescan_utils.profiles import StudyError, make_config, notebook_parameters, parse_settings
from bonescan_utils.room import needed_bytes
from bonescan_utils.runner import Project, run_study
from bonescan_utils.screen import Screen
from bonescan_utils.seal import write_sealed
from bonescan_utils.steps import Step
from bonescan_utils.study import open_run

ONE = [
    'run_dir: str = "../reports/by_hand"  # where to write\nseed: int = 1  # a number\nweights_dir: str = ""',
    "import os, sys, time\nfrom pathlib import Path\nimport pandas as pd\nfrom bonescan_utils import study\n"
    'run = study.open_run(run_dir, "01_one")',
    "mood = Path('mood.txt').read_text() if Path('mood.txt').exists() else ''\nprint('mood', mood)",
    "if mood == 'raise':\n    raise study.StudyError('row 3: no such thing')",
    "if mood == 'exit':\n    sys.exit(0)",
    "if mood == 'die':\n    os._exit(3)\nif mood == 'kill':\n    os.kill(os.getpid(), 9)",
    "if mood == 'sleep':\n    time.sleep(120)",
    'run.csv(pd.DataFrame({"seed": [seed]}), "one.csv")',
    "run.note(seed_seen=seed)",
    "run.finish()",
]
TWO = [
    'run_dir: str = "../reports/by_hand"  # where to write\nn_boot: int = 5  # another number',
    "from bonescan_utils import study\nrun = study.open_run(run_dir, '02_two', needs=('one.csv',))",
    'table = run.read("one.csv")\nrun.csv(table.assign(n_boot=n_boot), "two.csv")',
    "run.finish()",
]


def write_notebook(path: Path, cells: list[str]) -> None:
    parts: list[Any] = [new_markdown_cell(f"# {path.stem}")]
    for number, source in enumerate(cells):
        tags = {"tags": ["parameters"]} if number == 0 else {}
        parts += [new_code_cell(source, metadata=tags), new_markdown_cell(f"## After {number}")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(new_notebook(cells=parts, metadata=kernel), path)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    write_notebook(tmp_path / "notebooks" / "01_one.ipynb", ONE)
    write_notebook(tmp_path / "notebooks" / "02_two.ipynb", TWO)
    rows = [
        {
            "scan_id": f"s{i}", "patient_id": f"p{i}", "anterior": f"data/s{i}.dcm", "posterior": "",
            "metastasis": i % 2, "label_source": "phantom", "age": 60, "sex": "F", "primary_cancer": "breast",
            "site": "", "scanner": "", "partition": "", "sha256_anterior": "", "sha256_posterior": "",
            "phantom_seed": "7", "phantom_index": str(i),
        }
        for i in range(8)
    ]  # fmt: skip
    write_manifest(tmp_path / "data_manifest.csv", pd.DataFrame(rows))
    return Project(tmp_path / "notebooks", tmp_path / "reports")


def start(project: Project, *, replace: bool = False, **settings: Any) -> tuple[Path, str]:
    """Run the toy study; return its folder and what it said."""
    settings = {"manifest": project.notebooks.parent / "data_manifest.csv", "weights": "random", **settings}
    said = io.StringIO()
    folder = run_study(make_config("quick", settings), project, screen=Screen(said, live=False), replace=replace)
    return folder, said.getvalue()


def test_settings_are_typed_and_every_fault_is_told() -> None:
    assert make_config("study", {"seed": "7", "arms": "proposed, vgg16"}).arms == ["proposed", "vgg16"]
    with pytest.raises(StudyError, match=r"unknown parameter: seeed; known: .*seed"):
        make_config("study", {"seeed": "7"})
    with pytest.raises(StudyError) as caught:
        make_config("study", {"seed": "seven", "weights": "magic"})
    assert "parameter seed" in str(caught.value) and "parameter weights" in str(caught.value)
    with pytest.raises(StudyError, match="profile 'fast' is unknown; expected one of quick, study, full"):
        make_config("fast")
    with pytest.raises(StudyError, match="'vgg99' is unknown"):
        make_config("study", {"arms": "vgg99"})
    with pytest.raises(StudyError, match="parameter run"):
        make_config("study", {"run": "../elsewhere"})


@pytest.mark.parametrize(("texts", "reason"), [(["seed"], "expected name=value"), (["a=1", "a=2"], "given twice")])
def test_settings_that_are_no_assignments(texts: list[str], reason: str) -> None:
    with pytest.raises(StudyError, match=reason):
        parse_settings(texts)


def test_values_keep_their_equals_sign() -> None:
    assert parse_settings(["weights_dir=/a=b", "seed= 7"]) == {"weights_dir": "/a=b", "seed": "7"}


def test_profiles_differ_as_told() -> None:
    quick, full = make_config("quick"), make_config("full")
    assert quick.n_scans <= 200 and quick.run == "quick"
    assert {"proposed", "vgg16", "vgg16_finetuned", "resnet50_finetuned"} <= set(full.arms)
    assert not any(name.endswith("_finetuned") for name in make_config("study").arms)
    assert 0 < quick.n_robustness < make_config("study").n_robustness


def test_a_cohort_without_truth_has_no_lesions(tmp_path: Path) -> None:
    run = open_run(tmp_path / "run", "04")
    run.note(synthetic=False)
    run.csv(pd.DataFrame({"scan_id": ["a", "b"], "anterior": "nowhere.dcm"}), "cohort.csv")
    assert run.lesions() is None
    assert run.lesion_bands().to_dict() == {"a": "unknown", "b": "unknown"}


def test_parameters_of_a_notebook(project: Project) -> None:
    config = make_config("quick", {"seed": 5, "weights_dir": str(project.notebooks.parent / "w")})
    found = notebook_parameters(project.notebooks / "01_one.ipynb", config, run_dir=project.reports / "x")
    assert found == {"run_dir": "../reports/x", "seed": 5, "weights_dir": "../w"}


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ('run_dir: str = "x"\nseed: str = "1"', "seed is of type str, the setting 2022 of type int"),
        ('run_dir: str = "x"\nseed = 1', "seed has no type; write it as seed: int"),
        ("seed: int = 1", "no cell tagged 'parameters' that sets run_dir"),
    ],
)
def test_a_wrong_parameters_cell_is_refused_before_a_kernel_starts(project: Project, cell: str, reason: str) -> None:
    write_notebook(project.notebooks / "02_two.ipynb", [cell, *TWO[1:]])
    with pytest.raises(StudyError, match=reason):
        start(project)
    assert not project.reports.exists()


def test_a_run_resumes_and_repeats_only_what_changed(project: Project) -> None:
    folder, said = start(project, seed=5)
    record = read_json(folder / "run.json")
    assert record["status"] == "finished" and [step["status"] for step in record["steps"]] == ["done", "done"]
    assert (folder / "two.csv").read_text() == "seed,n_boot\n5,200\n"
    assert record["notes"]["seed_seen"] == 5 and record["manifest"]["with_metastasis"] == 4
    assert "[1/2] 01_one  (not done yet)" in said and "mood" in said
    page = (folder / "notebooks" / "02_two.html").read_text()
    assert "two.csv" in page and "://" not in page and (folder / "index.html").exists()
    assert str(project.notebooks.parent) not in (folder / "notebooks" / "01_one.ipynb").read_text()

    _, said = start(project, seed=5)
    assert said.count("unchanged") == 2

    _, said = start(project, seed=5, n_boot=177, replace=True)
    assert "01_one  unchanged" in said and "02_two  (changed: parameters)" in said
    assert (folder / "two.csv").read_text() == "seed,n_boot\n5,177\n"

    (folder / "one.csv").write_text("seed\n6\n")
    _, said = start(project, seed=5, n_boot=177)
    assert "01_one  (missing or changed: one.csv)" in said
    assert "02_two  unchanged" in said, "01 wrote the same again, so 02 has nothing to do"

    write_notebook(project.notebooks / "02_two.ipynb", [*TWO[:2], TWO[2].replace("two.csv", "new.csv"), TWO[3]])
    _, said = start(project, seed=5, n_boot=177)
    assert "02_two  (changed: notebook)" in said
    assert (folder / "new.csv").exists() and not (folder / "two.csv").exists(), "nothing of an older run stays"


@pytest.mark.parametrize(
    ("mood", "ename", "words"),
    [
        ("raise", "StudyError", "01_one, code cell 4 .*'After 2'.*row 3: no such thing"),
        ("exit", "NotFinished", "ended before its last cell"),
        ("die", "KernelDied", "01_one, code cell 6 .*stopped suddenly"),
        ("kill", "KernelKilled", "01_one, code cell 6 .*was killed; most often the machine ran out of memory"),
    ],
)
def test_p21_each_way_of_stopping_early_is_a_failure_told_and_resumed(
    project: Project, mood: str, ename: str, words: str
) -> None:
    (project.notebooks / "mood.txt").write_text(mood)
    with pytest.raises(CellError, match=words) as caught:
        start(project)
    assert caught.value.ename == ename
    record = read_json(project.reports / "quick" / "run.json")
    assert record["status"] == "failed" and record["steps"][0]["status"] == "not done"
    failure = record["failure"]
    assert failure["step"] == "01_one" and failure["error"] == ename and failure["kept"] == []
    assert failure["cell"] == caught.value.cell and failure["to_resume"].split()[0] == "bonescan"
    assert (project.reports / "quick" / "notebooks" / "01_one.ipynb").exists(), "the part that ran is kept"
    assert not (project.reports / "quick" / ".lock").exists()
    (project.notebooks / "mood.txt").unlink()
    if mood == "raise":
        folder, _ = start(project)
        assert (folder / "two.csv").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_stops_the_kernel_and_leaves_no_lock(project: Project) -> None:
    (project.notebooks / "mood.txt").write_text("sleep")
    command = [
        sys.executable,
        "-m",
        "bonescan_utils.cli",
        "run",
        "--profile",
        "quick",
        "-p",
        "weights=random",
    ]
    root = str(Path(study.__file__).parents[1])
    process = subprocess.Popen(
        command, cwd=project.notebooks, env=os.environ | {"PYTHONPATH": root}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job's children ignore it
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if "mood sleep" in line:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "The same command resumes" in errors and "Traceback" not in errors
    folder = project.reports / "quick"
    assert read_json(folder / "run.json")["status"] == "stopped" and not (folder / ".lock").exists()


def test_bad_manifest_is_refused_with_nothing_written(project: Project) -> None:
    manifest = project.notebooks.parent / "data_manifest.csv"
    manifest.write_text(manifest.read_text().replace("s3,p3,data/s3.dcm,,1,", "s3,p3,data/s3.dcm,,maybe,"))
    with pytest.raises(Exception, match=r"line 5.*metastasis.*maybe") as caught:
        start(project)
    assert type(caught.value).__name__ == "ManifestError" and not project.reports.exists()


def test_p21_a_cell_that_takes_too_long_is_a_failure(project: Project) -> None:
    from bonescan_utils.execution import Job, execute

    (project.notebooks / "mood.txt").write_text("sleep")
    source, target = project.notebooks / "01_one.ipynb", project.reports / "copy.ipynb"
    job = Job(source, target, {"run_dir": "../reports/x"}, nonce="1", timeout_s=4)
    with pytest.raises(CellError, match=r"01_one, code cell 7 .*Timeout: a cell took longer than 4 s"):
        execute(job)
    assert target.exists() and not list(project.reports.glob(".*"))


def test_p22_nothing_of_an_attempt_that_failed_stays(project: Project) -> None:
    """A figure that only an attempt cut short has written is removed by the next that succeeds."""
    cells = [*TWO[:3], "run.csv(table, f'tables/of_{n_boot}.csv')\nassert n_boot != 177, 'no'", TWO[3]]
    write_notebook(project.notebooks / "02_two.ipynb", cells)
    with pytest.raises(CellError, match="no"):
        start(project, n_boot=177)
    folder = project.reports / "quick"
    assert (folder / "tables" / "of_177.csv").exists()
    record = read_json(folder / "run.json")
    assert [step["status"] for step in record["steps"]] == ["done", "not done"] and record["failure"]["kept"] == [
        "01_one"
    ]
    (folder / "report.html").write_text("of another run")
    start(project, n_boot=178, replace=True)
    assert sorted(path.name for path in (folder / "tables").iterdir()) == ["of_178.csv"]
    assert not list((folder / "steps").glob("*.begun")) and "of another run" not in (folder / "report.html").read_text()


def test_p22_a_folder_with_results_of_other_settings_is_refused_and_left_as_it_is(project: Project) -> None:
    folder, _ = start(project, seed=5)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    other = project.notebooks.parent / "other" / "data_manifest.csv"
    other.parent.mkdir()
    other.write_text((project.notebooks.parent / "data_manifest.csv").read_text().replace("breast", "lung"))
    for settings, told in (
        ({"seed": 6, "n_boot": 177}, r"seed: was 5, now 6; n_boot: was 200, now 177\)\. Choose .*--run.*--replace"),
        ({"seed": 5, "manifest": other}, "the manifest is another file"),
    ):
        with pytest.raises(StudyError, match=told) as caught:
            start(project, **settings)
        assert "\n" not in str(caught.value) and len(str(caught.value)) <= 500
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_p22_the_same_settings_go_on_and_an_attempt_without_results_stands_in_nobodys_way(project: Project) -> None:
    (project.notebooks / "mood.txt").write_text("raise")
    with pytest.raises(CellError):
        start(project, seed=5)
    (project.notebooks / "mood.txt").unlink()
    folder, _ = start(project, seed=6)
    moved = project.notebooks.parent / "moved.csv"
    (project.notebooks.parent / "data_manifest.csv").rename(moved)
    _, said = start(project, seed=6, manifest=moved, n_jobs=1)
    assert said.count("unchanged") == 2, "the same manifest at another place, and another number of processes"
    record = folder / "run.json"
    record.write_text(record.read_text().replace('"seed": 6', '"seed": 7'))
    _, said = start(project, seed=6, manifest=moved)
    assert said.count("unchanged") == 2, "a damaged record is none to go by; the steps tell by their own"


def test_two_runs_cannot_share_a_folder(tmp_path: Path) -> None:
    with (
        run_lock(tmp_path),
        pytest.raises(StudyError, match=f"process {os.getpid()} on {socket.gethostname()}"),
        run_lock(tmp_path),
    ):
        pass
    assert not (tmp_path / ".lock").exists()


def test_the_lock_of_a_dead_process_is_taken_over_but_not_that_of_another_host(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    write_json(tmp_path / ".lock", {"pid": dead.pid, "host": socket.gethostname(), "since": "then"})
    with run_lock(tmp_path):
        pass
    write_json(tmp_path / ".lock", {"pid": dead.pid, "host": "elsewhere", "since": "then"})
    with pytest.raises(StudyError, match=r"on elsewhere since then.*remove .*\.lock"), run_lock(tmp_path):
        pass


def test_a_lock_is_taken_over_if_its_number_is_that_of_another_process_now(tmp_path: Path) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("needs Linux to tell when a process began")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": "then", "mark": f"{os.getpid()}.1"}
    write_json(tmp_path / ".lock", holder)
    with run_lock(tmp_path):
        assert read_json(tmp_path / ".lock")["since"] != "then"


def test_p19_a_damaged_record_of_a_step_is_no_record(project: Project) -> None:
    folder, _ = start(project)
    path = folder / "steps" / "01_one.json"
    path.write_text(path.read_text().replace('"seed_seen": 2022', '"seed_seen": 2023'))
    _, said = start(project)
    assert "01_one  (its record is damaged or of another version)" in said and "02_two  unchanged" in said
    assert read_json(folder / "run.json")["notes"]["seed_seen"] == 2022


@pytest.mark.parametrize(
    ("nonce", "why"), [("", "last executed by hand"), ("ab12", "stopped before its end was noted")]
)
def test_p19_a_step_killed_at_its_end_is_executed_again(tmp_path: Path, nonce: str, why: str) -> None:
    step = Step(tmp_path / "01_one.ipynb", tmp_path, {})
    write_sealed(step.record_path, {"step": step.name, "nonce": nonce, "outputs": []})
    assert step.why_stale("") == why


def test_a_run_without_room_is_refused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "free_bytes", lambda path: 10**8)
    with pytest.raises(StudyError, match=r"not enough room .*0\.1 GB free"):
        start(project)
    assert not project.reports.exists()


def test_needed_room_grows_with_scans_and_copies() -> None:
    few, many = make_config("quick", {"n_scans": 10}), make_config("quick", {"n_scans": 100})
    assert needed_bytes(few, 1000) < needed_bytes(many, 1000) == needed_bytes(many, 100)
    none = make_config("quick", {"n_scans": 100, "copies": 0})
    assert needed_bytes(none, 1000) < needed_bytes(many, 1000)


def test_a_notebook_by_hand_says_what_must_run_first(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"cohort\.csv is not there: run 01_cohort"):
        open_run(tmp_path / "by_hand", "02_preprocessing", needs=("cohort.csv",))


def test_the_list_of_what_was_written(tmp_path: Path) -> None:
    run = open_run(tmp_path, "01_one")
    run.csv(pd.DataFrame({"scan_id": ["0007", "1e5"]}), "ids.csv")
    listed = run.finish()
    assert listed.loc[0, ["path", "rows"]].tolist() == ["ids.csv", "2"]
    assert run.read("ids.csv")["scan_id"].tolist() == ["0007", "1e5"]
    recorded = json.loads((tmp_path / "steps" / "01_one.json").read_text())["outputs"]
    assert outputs_changed(tmp_path, recorded) == []
    (tmp_path / "ids.csv").write_text("scan_id\n0007\n")
    assert outputs_changed(tmp_path, recorded) == ["ids.csv"]


def test_a_progress_bar_in_a_log_is_rare_and_lines_are_whole() -> None:
    from bonescan_utils.execution import Relay

    said = io.StringIO()
    relay = Relay(Screen(said, live=False))
    for piece in ("read 5", " scans\nbar: 1%", "\rbar: 50%", "\rbar: 100%", "\n"):
        relay.write(piece)
    relay.close()
    assert said.getvalue() == "      read 5 scans\n      bar: 100%\n"
