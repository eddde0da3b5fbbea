"""Processes and a Dask cluster as workers, some of which die."""

import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from multiprocessing import get_context

import distributed
import pytest
import toys
from helpers import PATIENCE_S, one_sentence, run, wait_for
from test_one_by_one import TESTS, do, is_alive, kept, predicted, remarks, without_times

from emigbench import EmigbenchError, jobs, provenance, screening, units, workers
from emigbench.errors import StoppedError
from emigbench.hop_barriers import Screened
from emigbench.workers import WorkerDiedError, dask, processes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("notes")


@pytest.fixture(autouse=True)
def notes(folder, monkeypatch):
    monkeypatch.setenv("EMIGBENCH_TOYS", str(folder))
    for file in folder.iterdir():
        file.unlink()
    return folder


# --- Ctrl-C

NAMES = [f"{k}.cif" for k in range(12)]


def do_jobs(begin, executor, progress, folder, monkeypatch):
    def call(name):
        begin(name)
        return units.failed(name, "no time", "")

    to_do = [jobs.Job(name, folder / name, (), partial(call, name)) for name in NAMES]
    jobs.do(to_do, {}, executor, progress, one_by_one=True)


def screen_files(begin, executor, progress, folder, monkeypatch):
    def screen_file(_, name, plan):
        begin(name)
        return Screened(name)

    (folder / "in").mkdir()
    for name in NAMES:
        (folder / "in" / name).touch()
    monkeypatch.setattr(screening, "screen_file", screen_file)
    plan = screening.Plan("train-median", "full", "Li", 4.0)
    screening.screen(folder / "in", plan, folder / "out", executor=executor, progress=progress)


def slowly(what):
    time.sleep(0.05)


@pytest.mark.parametrize("moment", range(4))
@pytest.mark.parametrize("side_by_side", [do_jobs, screen_files])
def test_ctrl_c_as_a_lock_is_taken_leaves_none_that_a_worker_waits_for(tmp_path, monkeypatch, side_by_side, moment):
    """A signal is raised between two steps of Python, so also within a `with` of the standard library."""
    locks, stopped = itertools.count(), []

    def interrupt(frame, event, _):
        if frame.f_code.co_name != "__enter__":
            return None
        if event == "return" and next(locks) == moment:
            raise KeyboardInterrupt
        return interrupt

    def progress(name, done, total):
        if done == 3:
            sys.settrace(interrupt)

    def run_until_stopped():
        with pytest.raises(KeyboardInterrupt), ThreadPoolExecutor(2) as executor:
            side_by_side(slowly, executor, progress, tmp_path, monkeypatch)
        stopped.append(True)

    thread = threading.Thread(target=run_until_stopped, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert stopped


@pytest.mark.parametrize("side_by_side", [do_jobs, screen_files])
def test_nothing_is_begun_after_ctrl_c(tmp_path, monkeypatch, side_by_side):
    begun, stopped = [], threading.Event()

    def begin(name):
        begun.append(name)
        if len(begun) > 1:
            stopped.wait(PATIENCE_S)

    def stop(name, done, total):
        raise KeyboardInterrupt

    def run_until_stopped(executor):
        try:
            side_by_side(begin, executor, stop, tmp_path, monkeypatch)
        finally:
            stopped.set()

    with pytest.raises(KeyboardInterrupt), ThreadPoolExecutor(1) as executor:
        run_until_stopped(executor)
    assert len(begun) <= 2


# --- Processes


def test_a_process_that_dies_is_replaced_and_costs_its_own_task_alone():
    with processes(2) as executor:
        long = executor.submit(time.sleep, 1.0)
        deaths = [executor.submit(toys.die) for _ in range(3)]
        after = executor.submit(abs, -7)
        for death in deaths:
            with pytest.raises(WorkerDiedError, match="its worker died"):
                death.result()
        assert after.result() == 7
        assert long.result() is None


def test_a_process_that_dies_as_it_starts_is_told_like_any_other(tmp_path):
    script = tmp_path / "unguarded.py"  # a process that starts runs it again, up to where it would start others
    script.write_text(
        "from emigbench.workers import WorkerDiedError, processes\n"
        "with processes(1) as executor:\n"
        "    try:\n"
        "        executor.submit(abs, -7).result()\n"
        "    except WorkerDiedError:\n"
        "        print('told')\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout == "told\n"


def test_what_a_worker_prints_by_whatever_way_is_on_stderr(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os\n"
        "from emigbench.workers import processes\n"
        "if __name__ == '__main__':\n"
        "    with processes(1) as executor:\n"
        "        executor.submit(os.system, 'echo from a process').result()\n"
        "        executor.submit(print, 'from Python').result()\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.stdout, sorted(done.stderr.splitlines())) == ("", ["from Python", "from a process"])


def test_errors_of_a_task_come_back_as_they_are():
    with processes(1) as executor, pytest.raises(ValueError, match="invalid literal"):
        executor.submit(int, "x").result()


def test_no_process_outlives_an_error():
    pids = []

    def interrupted():
        with processes(2) as executor:
            pids.extend(executor.submit(os.getpid).result() for _ in range(2))
            busy = executor.submit(time.sleep, 300)
            wait_for(busy.running)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    wait_for(lambda: not any(is_alive(pid) for pid in pids))  # the task alone would keep one for 300 s


def start_another(file):
    """Start a process that lasts, as a model with workers of its own does, and wait for it."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    file.write_text(str(other.pid))
    other.wait()


def test_what_a_worker_has_started_ends_with_it(tmp_path):
    file = tmp_path / "pid"
    with suppress(KeyboardInterrupt), processes(1) as executor:
        executor.submit(start_another, file)
        wait_for(lambda: file.is_file() and file.read_text())
        raise KeyboardInterrupt
    wait_for(lambda: not is_alive(int(file.read_text())))


def leave_one_behind() -> int:
    """Start a process that lasts, and be done before it."""
    other = get_context("spawn").Process(target=time.sleep, args=(30,))
    other.start()
    return other.pid


def test_what_a_task_has_left_running_is_not_waited_for():
    with processes(1) as executor:
        pid = executor.submit(leave_one_behind).result()
        done = time.monotonic()
    assert time.monotonic() - done < 25
    assert not is_alive(pid)


def test_what_a_worker_has_started_ends_with_a_program_that_is_killed(tmp_path):
    program = [
        "from pathlib import Path",
        "from test_workers import start_another",
        "from emigbench.workers import processes",
        "if __name__ == '__main__':",
        "    with processes(1) as executor:",
        f"        executor.submit(start_another, Path({str(tmp_path / 'pid')!r})).result()",
    ]
    script, file = tmp_path / "main.py", tmp_path / "pid"
    script.write_text("\n".join(program))
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    with subprocess.Popen([sys.executable, script], env=os.environ | {"PYTHONPATH": path}) as main:
        wait_for(lambda: file.is_file() and file.read_text())
        main.kill()
    wait_for(lambda: not is_alive(int(file.read_text())))


def test_a_worker_has_one_core():
    with processes(1) as executor:
        assert executor.submit(provenance.available_cores).result() == 1
    assert provenance.available_cores() >= 1


def test_an_ordinary_unit_whose_process_dies_once_is_fitted_again(data, tmp_path):
    do("Fitted", data, tmp_path / "plain")
    with processes(1) as executor:
        do("FittedOnce", data, tmp_path / "out", executor=executor)
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == (tmp_path / "plain" / "predictions.csv").read_bytes()


def test_an_ordinary_unit_whose_process_dies_twice_is_an_error(data, tmp_path):
    with processes(1) as executor, pytest.raises(EmigbenchError, match="material-cv--0--seed-0 died") as error:
        do("FittedNever", data, tmp_path / "out", executor=executor)
    assert "fewer --workers" in one_sentence(error)


# --- A Dask cluster


@pytest.fixture(scope="module")
def cluster(folder):
    """Two workers in processes of their own, replaced when they die; a task may see one of them die, not two.

    A worker that is dead again 15 s after it died would be given up, which is a matter of luck where many are killed.
    """
    import dask

    before = os.environ.get("EMIGBENCH_TOYS")
    os.environ["EMIGBENCH_TOYS"] = str(folder)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1, "distributed.deploy.lost-worker-timeout": "1 h"}),
        distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None, silence_logs="CRITICAL") as cluster,
    ):
        yield cluster.scheduler_address
    os.environ.pop("EMIGBENCH_TOYS") if before is None else os.environ.update(EMIGBENCH_TOYS=before)


def test_a_cluster_gives_the_same_as_a_plain_run(data, tmp_path, cluster):
    do("Toy", data, tmp_path / "plain", split_names=("official", "material-cv"))
    with dask(cluster) as executor:
        do("Toy", data, tmp_path / "out", split_names=("official", "material-cv"), executor=executor)
    assert without_times(tmp_path / "out") == without_times(tmp_path / "plain")
    assert set(predicted().values()) == {2}


def test_ordinary_models_run_on_a_cluster(data, tmp_path, cluster):
    do("Fitted", data, tmp_path / "plain", seeds=(0, 1))
    with dask(cluster) as executor:
        do("Fitted", data, tmp_path / "out", seeds=(0, 1), executor=executor)
    assert (tmp_path / "out" / "predictions.csv").read_bytes() == (tmp_path / "plain" / "predictions.csv").read_bytes()


def test_a_worker_that_is_killed_in_the_middle_costs_nothing(data, tmp_path, cluster):
    do("Toy", data, tmp_path / "plain")
    seen = predicted()
    with dask(cluster) as executor:
        do("KilledOnce", data, tmp_path / "out", executor=executor, progress=toys.arrived)
    assert without_times(tmp_path / "out") == without_times(tmp_path / "plain")
    assert "killed" in toys.noted()
    assert predicted() - seen == Counter(entry.id for entry in data)


def test_a_path_that_kills_its_workers_is_failed_and_no_other(data, tmp_path, cluster):
    do("Toy", data, tmp_path / "plain")
    with dask(cluster) as executor:
        do("Troubled", data, tmp_path / "out", executor=executor)
    told = remarks(tmp_path / "out")
    assert (told[toys.DEADLY], told[toys.ODD]) == ("its worker died", "OddError: 1 is not 2")
    ours, theirs = without_times(tmp_path / "out"), without_times(tmp_path / "plain")
    assert [line for line, other in zip(ours, theirs, strict=True) if line != other] == [
        f"material-cv,0,{path_id},,,failed" for path_id in (toys.DEADLY, toys.ODD)
    ]


def test_a_model_that_fails_on_all_paths_of_a_cluster_is_an_error(data, tmp_path, cluster):
    with dask(cluster) as executor, pytest.raises(EmigbenchError, match="OddError: 3 is not 4"):
        do("RaisesAlways", data, tmp_path / "out", executor=executor)


def test_the_command_line_on_a_cluster(tmp_path, cluster):
    arguments = ["evaluate", "toys:Toy", "--dataset", "spinels", "--dask", cluster, "--out", tmp_path / "out"]
    done = run(*arguments, "--json", cwd=TESTS)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["official"]["n"] == 11
    said = [line for line in done.stderr.splitlines() if " done, about " not in line]  # progress of a busy machine
    assert said[0] == f"Predictions and run record are in {tmp_path / 'out'}."


def test_a_scheduler_that_goes_away_in_the_middle(data, tmp_path):
    file = tmp_path / "scheduler.json"

    def start(*arguments):
        command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard", "--scheduler-file", str(file)]
        return subprocess.Popen(command, cwd=TESTS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    scheduler = start("scheduler", "--host", "127.0.0.1", "--port", "0")
    wait_for(lambda: file.exists() and file.read_text().endswith("}"))
    worker = start("worker", "--nthreads", "1")

    def end(what, done, total):
        if done == 5:
            scheduler.kill()

    try:
        with dask(json.loads(file.read_text())["address"]) as executor, pytest.raises(StoppedError) as error:
            do("Waits", data, tmp_path / "out", executor=executor, progress=end)
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()
    assert "went away" in one_sentence(error)
    finished = kept(tmp_path / "out")
    assert 5 <= len(finished) < 82
    toys.note(toys.GO_ON)
    do("Waits", data, tmp_path / "out", resume=True)
    assert {predicted()[name.removeprefix("path--").removesuffix(".json")] for name in finished} == {1}


def test_a_result_that_is_lost_on_its_way_is_no_fault_of_the_task(cluster, monkeypatch):
    """As where the scheduler goes away while the client fetches it."""
    with dask(cluster) as executor:
        with pytest.raises(FileNotFoundError, match="no such folder"):
            executor.submit(os.listdir, "/no such folder").result(PATIENCE_S)

        def lost(self, timeout=None):
            raise distributed.comm.CommClosedError("Connection reset by peer")

        monkeypatch.setattr(distributed.Future, "result", lost)
        with pytest.raises(EmigbenchError, match=f"The Dask scheduler at {cluster} went away; start one again."):
            executor.submit(abs, -7).result(PATIENCE_S)


# --- Clusters that cannot be used


def refused(address) -> str:
    with pytest.raises(EmigbenchError) as error, dask(address):
        pass
    return one_sentence(error)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "", "nonsense://127.0.0.1:1", "127.0.0.1"])
def test_an_address_where_nobody_answers(address, monkeypatch):
    monkeypatch.setattr(workers, "CONNECT_SECONDS", 1)
    assert f"No Dask scheduler answers at {address} (" in refused(address)


def test_an_address_where_somebody_else_listens(monkeypatch):
    monkeypatch.setattr(workers, "CONNECT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "No Dask scheduler answers" in refused(f"tcp://127.0.0.1:{server.getsockname()[1]}")


def test_a_scheduler_without_workers(caplog):
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard": False, "port": 0}}
    with distributed.SpecCluster({}, scheduler) as empty:
        with dask(empty.scheduler_address):
            pass
        assert [record.message for record in caplog.records if record.name == "emigbench.workers"] == [
            f"The Dask scheduler at {empty.scheduler_address} has no workers yet; the work waits for some."
        ]


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "pip install 'emigbench[distributed]'" in refused("tcp://127.0.0.1:1")


@pytest.mark.parametrize("name", ["python", "dask", "distributed", "emigbench"])
def test_a_scheduler_with_other_versions(cluster, monkeypatch, name):
    def other(self, packages):
        ours = dict.fromkeys(["python", "dask", "distributed", "emigbench"], "1.0")
        return {"client": {"packages": ours}, "scheduler": {"packages": ours | {name: "0.7"}}}

    monkeypatch.setattr(distributed.Client, "get_versions", other)
    assert f"{cluster} has {name} 0.7, the machine that started the run has" in refused(cluster)


def test_a_worker_with_other_versions(data, tmp_path, cluster, monkeypatch):
    real = provenance.versions()
    monkeypatch.setattr(provenance, "versions", lambda: real | {"numpy": "0.1"})
    with dask(cluster) as executor, pytest.raises(EmigbenchError) as error:
        do("Toy", data, tmp_path / "out", executor=executor)
    assert f"has numpy {real['numpy']}, the machine that started the run has 0.1" in one_sentence(error)
    assert not predicted()


def test_hardware_of_several_machines_is_one_record():
    one, other = {"processor": "A", "cores": 8}, {"processor": "B", "cores": 8}
    assert provenance.joined([one, other, one, {}]) == {"processor": "A, B", "cores": 8}
    assert provenance.joined([one, one]) == one
    both = provenance.joined([one, other])
    assert provenance.joined([both, other, one]) == both  # a run that was taken up again and again
    assert provenance.joined([provenance.joined([{"cores": 2}, {"cores": 4}]), {"cores": 4}]) == {"cores": "2, 4"}
