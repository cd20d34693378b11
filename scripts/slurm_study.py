"""Run a study over a SLURM cluster: starts Dask workers as SLURM jobs, then the study with their scheduler.

    python scripts/slurm_study.py --jobs 8 --cores 8 --memory 16GB --queue gpu --gpu -- --profile study --folds 5

What follows `--` goes to `bonescan run`. Everything is read and written through the project's folder, which all nodes
must see, with the same .venv. `--show` prints the job script and starts nothing. Needs the extra `cluster`.
A study that was cut short goes on with the same command.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def main(arguments: list[str] | None = None) -> int:
    """Start the workers and the study; return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    at = given.index("--") if "--" in given else len(given)
    options = _parser().parse_args(given[:at])
    with slurm_cluster(options) as cluster:
        if options.show:
            print(cluster.job_script())
            return 0
        cluster.scale(jobs=options.jobs)
        print(f"{options.jobs} jobs asked for; the study begins with the first worker. {cluster.scheduler_address}")
        try:
            cluster.wait_for_workers(1, timeout=options.wait)
        except TimeoutError:
            print(f"No worker within {options.wait} s: look at squeue, or wait longer (--wait).", file=sys.stderr)
            return 1
        command = [sys.executable, "-m", "bonescan_utils.cli", "run", "--scheduler", cluster.scheduler_address]
        return subprocess.run([*command, *given[at + 1 :]], cwd=ROOT, check=False).returncode


def slurm_cluster(options: argparse.Namespace) -> Any:
    """A cluster of one-process jobs: a process for each GPU, or for each node's cores.

    Args:
        options: `cores`, `memory`, `walltime`, `queue`, `account`, `gpu`.
    """
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise SystemExit("needs the extra 'cluster': .venv/bin/python -m pip install -e '.[cluster]'") from None
    return SLURMCluster(
        cores=1,  # one task at a time: TensorFlow uses all cores of the job by itself
        job_cpu=options.cores,
        processes=1,
        memory=options.memory,
        walltime=options.walltime,
        queue=options.queue,
        account=options.account,
        python=sys.executable,
        worker_extra_args=["--resources", "GPU=1"] if options.gpu else [],
        job_extra_directives=["--gres=gpu:1"] if options.gpu else [],
        job_script_prologue=[f"cd {ROOT}", "export TF_CPP_MIN_LOG_LEVEL=2"],
        local_directory=tempfile.gettempdir(),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=4, help="SLURM jobs, a worker each (default: 4)")
    parser.add_argument("--cores", type=int, default=8, help="cores a job (default: 8)")
    parser.add_argument("--memory", default="16GB", help="memory a job (default: 16GB)")
    parser.add_argument("--walltime", default="08:00:00", help="longest time of a job (default: 08:00:00)")
    parser.add_argument("--queue", help="SLURM partition")
    parser.add_argument("--account", help="SLURM account")
    parser.add_argument("--gpu", action="store_true", help="one GPU a job; every fit and feature shard takes one")
    parser.add_argument("--wait", type=int, default=3600, help="seconds to wait for the first worker (default: 3600)")
    parser.add_argument("--show", action="store_true", help="print the job script and stop")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
