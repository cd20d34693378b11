"""Work shared out: the same results here and on a cluster, and what is said when a cluster fails."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from bonescan_utils import workers
from bonescan_utils.workers import SCHEDULER_VARIABLE, WorkerError, in_order, run_all

distributed = pytest.importorskip("distributed")


@pytest.fixture
def on_cluster(cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SCHEDULER_VARIABLE, cluster.scheduler_address)


def double(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return 2 * number


def leave_file(task: tuple[Path, int]) -> None:
    path, number = task
    path.write_text(str(double(number)))


def die_once(task: tuple[Path, int]) -> None:
    """Kills the worker at the first try, as a machine that goes down does."""
    path, number = task
    if number and not path.with_suffix(".tried").exists():
        path.with_suffix(".tried").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    path.write_text("done")


def die(task: tuple[Path, int]) -> None:
    if task[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    task[0].write_text("done")


def wait(task: float) -> None:
    time.sleep(task)


def test_results_come_in_order_here_and_on_a_cluster(cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    items = list(range(300))
    here = list(in_order(double, items, label="x", n_jobs=1, progress=False))
    monkeypatch.setenv(SCHEDULER_VARIABLE, cluster.scheduler_address)
    assert list(in_order(double, items, label="x", progress=False)) == here == [2 * n for n in items]


def test_an_error_of_the_function_is_raised_as_it_is(on_cluster) -> None:
    with pytest.raises(ValueError, match="-3 is negative"):
        list(in_order(double, [1, -3], label="x", progress=False))


def test_a_failing_task_is_named_and_the_others_are_done(on_cluster, tmp_path: Path) -> None:
    tasks = {f"fit {n}": (tmp_path / f"{n}.txt", n) for n in (1, -2, 3)}
    with pytest.raises(WorkerError, match=r"task fit -2: ValueError: -2 is negative[^$]*finished is kept"):
        run_all(leave_file, tasks, label="x", progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.txt", "3.txt"]


def test_a_killed_worker_is_replaced_and_the_work_done(on_cluster, tmp_path: Path) -> None:
    tasks = {f"fit {n}": (tmp_path / f"{n}.txt", n) for n in (0, 1)}
    run_all(die_once, tasks, label="x", progress=False)
    assert {path.read_text() for path in tmp_path.glob("*.txt")} == {"done"}
    assert (tmp_path / "1.tried").exists()


def test_a_task_that_kills_every_worker_is_named(on_cluster, tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match=r"task fit 1: the worker died over it") as caught:
        run_all(die, {f"fit {n}": (tmp_path / f"{n}.txt", n) for n in (0, 1)}, label="x", progress=False)
    assert "fit 0" not in str(caught.value) and (tmp_path / "0.txt").exists()


def test_a_scheduler_that_nobody_is_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SCHEDULER_VARIABLE, "tcp://127.0.0.1:9")
    monkeypatch.setattr(workers, "CONNECT_SECONDS", 1)
    with pytest.raises(WorkerError, match=r"no scheduler answers at 'tcp://127.0.0.1:9'"):
        workers.describe()
    monkeypatch.setenv(SCHEDULER_VARIABLE, "nonsense://x")
    with pytest.raises(WorkerError, match=r"no scheduler answers at 'nonsense://x'"):
        workers.describe()


def test_a_scheduler_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "CONNECT_SECONDS", 2)
    with distributed.LocalCluster(n_workers=0, dashboard_address=None, host="127.0.0.1", protocol="tcp") as empty:
        monkeypatch.setenv(SCHEDULER_VARIABLE, empty.scheduler_address)
        with pytest.raises(WorkerError, match=r"has no worker. Start some: dask worker"):
            workers.describe()


def test_a_scheduler_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    import dask

    options = {"dashboard_address": None, "host": "127.0.0.1", "protocol": "tcp"}
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, **options) as short,
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
    ):
        monkeypatch.setenv(SCHEDULER_VARIABLE, short.scheduler_address)
        threading.Timer(1.0, short.close).start()
        with pytest.raises(WorkerError, match=r"went away.*finished is kept"):
            run_all(wait, {"long": 5.0}, label="x", progress=False)


def test_workers_with_other_code_are_refused(on_cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    from bonescan_utils import provenance

    monkeypatch.setattr(provenance, "code_hash", lambda: "another")
    with pytest.raises(WorkerError, match="has another version of bonescan_utils"):
        workers.describe()


def test_the_cluster_is_described(on_cluster) -> None:
    assert "2 worker(s), 2 thread(s)" in workers.describe()


def test_without_dask_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setenv(SCHEDULER_VARIABLE, "tcp://127.0.0.1:9")
    with pytest.raises(WorkerError, match=r"needs the extra 'cluster'.*\.\[cluster\]"):
        workers.describe()
