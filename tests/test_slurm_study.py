"""The SLURM example: its job script, and a worker that really starts where `sbatch` is replaced by a shell."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("dask_jobqueue")

SCRIPT = Path(__file__).parents[1] / "scripts" / "slurm_study.py"


def run(*arguments: str, path: str = "", timeout: int = 120) -> subprocess.CompletedProcess[str]:
    env = dict(os.environ, PATH=f"{path}{os.pathsep}{os.environ['PATH']}")
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=timeout, check=False)


def test_a_job_asks_for_what_was_said() -> None:
    shown = run("--show", "--gpu", "--queue", "nuclear", "--cores", "6", "--memory", "20GB", "--walltime", "01:00:00")
    assert shown.returncode == 0, shown.stderr
    for line in ("#SBATCH -p nuclear", "#SBATCH --cpus-per-task=6", "#SBATCH --gres=gpu:1", "#SBATCH -t 01:00:00"):
        assert line in shown.stdout
    assert "--nthreads 1" in shown.stdout and "--resources GPU=1" in shown.stdout and sys.executable in shown.stdout


def test_without_gpus_none_is_asked_for() -> None:
    shown = run("--show").stdout
    assert "gpu" not in shown.lower()


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_workers_start_and_the_study_is_given_their_scheduler(tmp_path: Path) -> None:
    start = f"setsid bash {tmp_path}/job.sh >{tmp_path}/worker.log 2>&1 & echo $! >{tmp_path}/pid"
    fake = {  # as the real one, it keeps a copy of the script
        "sbatch": f'cp "$1" {tmp_path}/job.sh; {start}; echo Submitted batch job 7',
        "scancel": f"kill -- -$(cat {tmp_path}/pid)",
    }
    for name, text in fake.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    found = run("--jobs", "1", "--cores", "1", "--memory", "1GB", "--wait", "60", "--", "--help", path=str(tmp_path))
    assert found.returncode == 0, found.stderr + (tmp_path / "worker.log").read_text()
    assert "usage: bonescan run" in found.stdout and "tcp://" in found.stdout
