"""Executors that lay the death of a worker to the task that it was at: processes here, or a Dask cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.util import Finalize
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from emigbench import provenance
from emigbench.errors import EmigbenchError, in_words

if TYPE_CHECKING:
    from distributed import Client
    from distributed import Future as DaskFuture

LOG = logging.getLogger(__name__)
Key = TypeVar("Key")
Found = TypeVar("Found")
CONNECT_SECONDS = 10
"""How long a scheduler may take to answer."""
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has no SIGKILL


class WorkerDiedError(Exception):
    """The worker that a task was given to died; another task that it had may be to blame."""


def died(who: str) -> EmigbenchError:
    """What a user is told of a death that ends a run."""
    return EmigbenchError(f"{who} died, perhaps for lack of memory; try fewer --workers.")


def outcomes(
    calls: Mapping[Key, Callable[[], Found]], executor: Executor | None, harmless: tuple[type[Exception], ...] = ()
) -> Iterator[tuple[Key, Found | Exception]]:
    """What came of each call, as soon as it is known: what it gave, or an error that is `harmless` to the others.

    A call whose worker died is made again when the others are done; if that one dies too, `WorkerDiedError` is what
    came of it. Where an error ends the others, those that have begun come first. Without an executor, calls are made
    one after the other in this process.

    Raises:
        EmigbenchError: if the executor itself breaks.
    """
    if executor is None:
        for key, call in calls.items():
            try:
                yield key, call()
            except harmless as error:
                yield key, error
        return
    killed = []
    for key, outcome in _side_by_side(calls, executor, harmless):
        if isinstance(outcome, WorkerDiedError):
            killed.append(key)
        else:
            yield key, outcome
    for key in killed:  # each alone, so that no other can be to blame this time
        yield from _side_by_side({key: calls[key]}, executor, harmless)


def _side_by_side(
    calls: Mapping[Key, Callable[[], Found]], executor: Executor, harmless: tuple[type[Exception], ...]
) -> Iterator[tuple[Key, Found | Exception]]:
    futures = {executor.submit(call): key for key, call in calls.items()}
    told: tuple[type[Exception], ...] = (*harmless, WorkerDiedError)
    failure: Exception | None = None
    for future in _as_they_end(futures):
        try:
            outcome: Found | Exception = future.result()
        except CancelledError:
            continue
        except told as error:
            outcome = error
        except Exception as error:  # what runs beside it may still finish
            failure = failure or error
            for other in futures:
                other.cancel()
            continue
        yield futures[future], outcome
    if isinstance(failure, BrokenExecutor):
        raise died("A worker process") from failure
    if failure is not None:
        raise failure


def _as_they_end(futures: Iterable[Future[Found]]) -> Iterator[Future[Found]]:
    """Futures in the order in which they end or are cancelled; those that are left are cancelled when this is closed.

    `concurrent.futures.wait` takes the locks of all that run, and `as_completed` does as it begins: Ctrl-C at that
    moment leaves them taken, and the executor hangs.
    """
    given = list(futures)
    ended: SimpleQueue[Future[Found]] = SimpleQueue()
    try:
        for future in given:
            future.add_done_callback(ended.put)  # put at once where it is cancelled, of which an executor may be silent
        for _ in given:
            yield ended.get()
    finally:
        for future in given:
            future.cancel()


@contextmanager
def processes(number: int) -> Iterator[Executor]:
    """Worker processes of this machine. One that dies is replaced, and none outlives this process.

    A task whose process dies raises `WorkerDiedError`; the others do not notice.
    """
    executor = _Processes(number)
    try:
        yield executor
    except BaseException:
        executor.kill()
        raise
    finally:
        executor.shutdown()


class _Processes(Executor):
    """Pools of one process, each fed by a thread of its own: so it is known what a process was at when it died."""

    def __init__(self, number: int) -> None:
        self._threads = ThreadPoolExecutor(number)
        self._own = threading.local()
        self._pools: dict[int, ProcessPoolExecutor] = {}
        self._killed = False

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._threads.submit(self._run, function, *args, **kwargs)

    def kill(self) -> None:
        """End all processes at once, whatever they are at."""
        self._killed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for pid in list(self._pools):
            _kill(pid)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        for pool in list(self._pools.values()):
            pool.shutdown(wait, cancel_futures=cancel_futures)

    def _run(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Pass a task on to the process of this thread, and wait for it."""
        try:
            if getattr(self._own, "pid", None) is None:
                self._own.pid = self._start_process()
            return self._pools[self._own.pid].submit(function, *args, **kwargs).result()
        except BrokenProcessPool as error:
            if (pid := getattr(self._own, "pid", None)) is not None:  # else it died as it started
                self._pools.pop(pid).shutdown()
            self._own.pid = None
            raise WorkerDiedError("its worker died") from error

    def _start_process(self) -> int:
        pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_settle_in)
        try:
            pid: int = pool.submit(os.getpid).result()
        except BrokenProcessPool:
            pool.shutdown()  # a broken pool that is let go before its thread has ended can hang Python 3.13 at exit
            raise
        self._pools[pid] = pool
        if self._killed:
            _kill(pid)
        return pid


def _kill(pid: int) -> None:
    """End a worker and all processes that it has started: it leads a group of its own, see `_settle_in`."""
    end = getattr(os, "killpg", os.kill)  # Windows has no groups
    with suppress(ProcessLookupError):
        end(pid, _KILL)


def _settle_in() -> None:
    """Prepare a worker process: Ctrl-C ends it without a traceback of its own, and so does the end of its parent.

    What a model prints goes to stderr, also from native code and from processes that it starts: stdout is for results.
    What processes it starts end with it.
    """
    sys.stdout = sys.stderr
    if sys.__stdout__ is not None and sys.__stderr__ is not None:  # else the descriptors may be anybody's
        os.dup2(2, 1)
    if hasattr(os, "setsid"):
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Finalize(None, _end_children, exitpriority=0)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_children() -> None:
    """End what a model left running, such as joblib's idle processes: this one would wait for them, 300 s for those."""
    for child in active_children():
        child.terminate()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    _kill(os.getpid())


@contextmanager
def dask(address: str) -> Iterator[Executor]:
    """The workers of a Dask cluster, which have this very software installed.

    A task whose workers died as often as the scheduler allows raises `WorkerDiedError`.

    Args:
        address: of the scheduler, such as tcp://host:8786.

    Raises:
        EmigbenchError: if the extra is not installed, no scheduler answers, or it has other versions. A task
            raises one if the scheduler goes away or its worker has other versions.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise EmigbenchError(
            f"A Dask cluster needs dask[distributed] ({in_words(error)}); pip install 'emigbench[distributed]'."
        ) from error
    try:
        asyncio.run(asyncio.wait_for(_knock(address), CONNECT_SECONDS))
    except Exception as error:  # what is no scheduler can answer anything
        raise EmigbenchError(
            f"No Dask scheduler answers at {address} ({in_words(error)}); start one with dask scheduler, or mend the "
            f"address, which looks like tcp://host:8786."
        ) from error
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what users must know is in our own sentences
    with Client(address, timeout=CONNECT_SECONDS, set_as_default=False) as client:
        _check_scheduler(client, address)
        if not client.scheduler_info()["workers"]:
            LOG.warning("The Dask scheduler at %s has no workers yet; the work waits for some.", address)
        yield _Dask(client, address)


async def _knock(address: str) -> None:
    """Connect and leave: a client that finds nobody takes long to give up, or waits for ever."""
    from distributed.comm import connect
    from distributed.security import Security

    await (await connect(address, **Security().get_connection_args("client"))).close()


def _check_scheduler(client: Client, address: str) -> None:
    found = client.get_versions(packages=["emigbench"])
    theirs, ours = found["scheduler"]["packages"], found["client"]["packages"]
    for name in ("python", "dask", "distributed", "emigbench"):
        _check_version(f"The Dask scheduler at {address}", name, theirs.get(name), ours.get(name))


def _check_version(where: str, name: str, theirs: str | None, ours: str | None) -> None:
    if theirs != ours:
        raise EmigbenchError(
            f"{where} has {f'{name} {theirs}' if theirs else f'no {name}'}, the machine that started the run has "
            f"{ours or 'none'}; install the same versions on both."
        )


class _Dask(Executor):
    """A Dask client as an executor whose errors are those of this module."""

    def __init__(self, client: Client, address: str) -> None:
        self._client, self._address = client, address
        self._versions = provenance.versions()

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        ours: Future[Any] = Future()
        theirs = self._client.submit(_run_checked, self._versions, function, *args, **kwargs, pure=False)
        ours.add_done_callback(lambda _: theirs.cancel() if ours.cancelled() else None)
        theirs.add_done_callback(lambda _: self._pass_on(theirs, ours))
        return ours

    def _pass_on(self, theirs: DaskFuture, ours: Future[Any]) -> None:
        from distributed import KilledWorker

        if not ours.set_running_or_notify_cancel():
            return
        try:
            ours.set_result(theirs.result())
        except KilledWorker:
            ours.set_exception(WorkerDiedError("its worker died"))
        except (CancelledError, OSError) as error:
            own = theirs.status == "error"  # else it was not cancelled by us, or the result was lost on its way
            gone = EmigbenchError(f"The Dask scheduler at {self._address} went away; start one again.")
            ours.set_exception(error if own else gone)
        except (ImportError, RuntimeError) as error:  # models' own come in other clothes
            ours.set_exception(
                EmigbenchError(
                    f"The Dask cluster at {self._address} could not take the work ({in_words(error.__cause__ or error)}"
                    f"); install on all its machines what is installed here."
                )
            )
        except BaseException as error:
            ours.set_exception(error)
        finally:
            theirs.release()  # or the death of the worker that holds the result would have it computed again


def _run_checked(versions: Mapping[str, str], function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Run a task on a worker, if that has the client's versions: the run record names no others."""
    here = provenance.versions()
    for name in sorted(versions.keys() | here.keys()):
        _check_version(f"The Dask worker on {platform.node()}", name, here.get(name), versions.get(name))
    return function(*args, **kwargs)
