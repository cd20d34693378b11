"""Workers: where the work of a run is done - in this process, on the cores of this machine, or on a Dask cluster.

By default nothing but this machine is used. With a scheduler's address (`bonescan run --scheduler tcp://host:8786`,
kept in the environment variable `BONESCAN_SCHEDULER` for the notebooks) the same functions run on its workers. They
exchange files with this process through the run folder, so workers must see the same folders, and run the same
code. What a task has finished is on disk: after any failure the same command goes on from there.
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

SCHEDULER_VARIABLE = "BONESCAN_SCHEDULER"
CONNECT_SECONDS = 10
CHUNK = 32  # items a cluster task: a scan takes milliseconds, a task's way there and back as well
AHEAD = 4  # chunks a worker that are under way at once: results do not pile up faster than they are used

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerError(RuntimeError):
    """Work that could not be done by workers; says which, and what to do."""


def scheduler() -> str:
    """The address of the Dask scheduler of this run; '' for none."""
    return os.environ.get(SCHEDULER_VARIABLE, "")


def describe() -> str:
    """The cluster in words, after a look whether it answers and its workers can do this run's work.

    Raises:
        WorkerError: It does not, or they cannot.
    """
    with _client() as client:
        threads = client.nthreads()
        gpus = " with GPUs" if _gpu_of(client) else ""
        return f"{len(threads)} worker(s){gpus}, {sum(threads.values())} thread(s), of the scheduler at {scheduler()}"


def in_order(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    label: str,
    n_jobs: int = -1,
    unit: str = "scan",
    progress: bool = True,
) -> Iterator[Result]:
    """Yields `function(item)` of each item, in order, worked on in parallel, with a progress bar.

    Args:
        function: A function of a module (not of a notebook), so that workers can find it.
        items: What it is called with.
        label: Text of the progress bar.
        n_jobs: Processes on this machine; -1 for one a core. Without effect on a cluster.
        unit: What an item is.
        progress: Show a progress bar.

    Raises:
        WorkerError: The cluster cannot be reached, or loses the work.
    """
    found = _over_cluster(function, items) if scheduler() else _over_cores(function, items, n_jobs)
    yield from tqdm(found, label, len(items), disable=not (progress and len(items)), unit=unit)


def run_all(
    function: Callable[[Item], object], tasks: Mapping[str, Item], *, label: str, progress: bool = True
) -> None:
    """Does every task: here one after another, on a cluster all at once. What they make, they leave as files.

    On a cluster a task that fails does not stop the others. Where workers have the resource `GPU`, each task takes
    one of it.

    Args:
        function: Called with each task; of a module.
        tasks: Name -> task.
        label: Text of the progress bar on a cluster.
        progress: Show it.

    Raises:
        WorkerError: The cluster cannot be reached, or a task failed there; the text names it. Here, what the
            function raises.
    """
    if not scheduler():
        for task in tasks.values():
            function(task)
        return
    failed: dict[str, str] = {}
    with _client() as client:
        resources = _gpu_of(client)
        mark = secrets.token_hex(4)  # the same task of another run is another task
        futures = {
            client.submit(function, task, key=f"{name} {mark}", pure=False, resources=resources): name
            for name, task in tasks.items()
        }
        for future in tqdm(_as_completed(client, futures), label, len(futures), disable=not progress, unit="task"):
            failed |= _failure(future, futures[future])
    if failed:
        raise WorkerError(
            "\n".join([*failed.values(), "What was finished is kept; the same command goes on from there."])
        )


def _over_cores(function: Callable[[Item], Result], items: Sequence[Item], n_jobs: int) -> Iterable[Result]:
    from joblib import Parallel, delayed

    return Parallel(n_jobs=n_jobs, return_as="generator", batch_size="auto")(delayed(function)(item) for item in items)


# ---------------------------------------------------------------------------------------------- on a cluster
def _over_cluster(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yields the results in order, with few chunks under way at a time, so that memory stays flat."""
    chunks = iter([items[at : at + CHUNK] for at in range(0, len(items), CHUNK)])
    with _client() as client:
        window = AHEAD * max(1, sum(client.nthreads().values()))

        def submit(chunk: Sequence[Item]) -> Any:
            return client.submit(_chunk, function, chunk, pure=False)

        waiting = [submit(chunk) for chunk in itertools.islice(chunks, window)]
        while waiting:
            yield from _result(waiting.pop(0))
            waiting += [submit(chunk) for chunk in itertools.islice(chunks, 1)]


def _chunk(function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    return [function(item) for item in items]


def _result(future: Any) -> Any:
    """The result of a future; errors of the function itself are raised as they are."""
    from concurrent.futures import CancelledError

    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise WorkerError(f"a worker died again and again over one piece of work: {error}") from None
    except (CancelledError, OSError) as error:
        if future.status != "error":
            raise WorkerError(_lost(error)) from None
        raise


def _as_completed(client: Any, futures: Iterable[Any]) -> Iterator[Any]:
    from distributed import as_completed

    yield from as_completed(list(futures), loop=client.loop)


def _failure(future: Any, name: str) -> dict[str, str]:
    """What to say of a task that failed; nothing of one that did not."""
    if future.status == "finished":
        return {}
    if future.status != "error":
        raise WorkerError(_lost(f"task {name} is {future.status}"))
    error = future.exception()
    if type(error).__name__ == "KilledWorker":
        return {name: f"task {name}: the worker died over it, again and again. Has it enough memory?"}
    return {name: f"task {name}: {type(error).__name__}: {error}"}


def _lost(error: object) -> str:
    return (
        f"the scheduler at {scheduler()} went away ({error}). What was finished is kept; start it again, and the same"
        " command goes on from there."
    )


@contextmanager
def _client() -> Iterator[Any]:
    """A client of the scheduler, whose workers run this code.

    Raises:
        WorkerError: Dask is not installed, no scheduler answers, it has no worker, or workers have other code.
    """
    address = scheduler()
    try:
        from distributed import Client
    except ImportError:
        raise WorkerError(
            "a scheduler needs the extra 'cluster': .venv/bin/python -m pip install -e '.[cluster]'"
        ) from None
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise WorkerError(
            f"no scheduler answers at {address!r} within {CONNECT_SECONDS} s ({reason}). Start one (dask scheduler), or"
            " leave --scheduler out to work on this machine."
        ) from None
    with client:
        _check_workers(client)
        yield client


def _check_workers(client: Any) -> None:
    try:
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
    except TimeoutError:
        raise WorkerError(
            f"the scheduler at {scheduler()} has no worker. Start some: dask worker {scheduler()} --nthreads 1"
        ) from None
    here = worker_state(Path.cwd())
    for worker, there in client.run(worker_state, Path.cwd()).items():
        if not there["sees"]:
            raise WorkerError(f"worker {worker} does not see this folder; workers need the same (shared) folders")
        if there["code"] != here["code"]:
            raise WorkerError(f"worker {worker} has another version of bonescan_utils: install this one there")


def worker_state(folder: Path) -> dict[str, Any]:
    """What a worker must share with this process: its code, and the sight of a folder."""
    from bonescan_utils import provenance

    return {"code": provenance.code_hash(), "sees": folder.is_dir()}


def _gpu_of(client: Any) -> dict[str, int]:
    """The resource that a task takes: one GPU where workers have any."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return {"GPU": 1} if any("GPU" in worker.get("resources", {}) for worker in workers) else {}
