"""Models that take paths one by one, and write down what they are given: a line for each path, below $EMIGBENCH_TOYS.

They are imported by name, as on a cluster, whose workers have no file of another machine.
"""

import os
import signal
import time
from pathlib import Path

from emigbench import EmigbenchError, Prediction

DEADLY, ODD = "MgHo2Se4", "MgY2Te4"
"""Two ids of the spinels, which some models take amiss."""

GO_ON, ARRIVED = "go on", "arrived"
"""What tests write down for models that wait for it."""

WAITING = "waiting"
"""What models write down for tests that wait for it."""

SHORT = 3.8
"""Å; below it are some of the spinels' hops."""


class OddError(Exception):
    """One that cannot be pickled."""

    def __init__(self, one, other):
        super().__init__(f"{one} is not {other}")
        self.way = lambda: None


class Toy:
    kind = "floor"
    one_by_one = True

    def __init__(self):
        self.details = {"settings": {"fmax": 0.05}, "remarks": {}}

    def fit(self, train, *, seed):
        assert len(train) == 0
        note("fit")

    def predict(self, paths):
        (path,) = paths
        note(path.id)
        short = path.hop_length < SHORT
        if short:
            self.details["remarks"][path.id] = "a short hop"
        return [Prediction(path.id, path.hop_length / 5, status="not_converged" if short else "ok")]


class Waits(Toy):
    """One that comes to ten paths or so, and stays at the last until it is told to go on."""

    def predict(self, paths):
        answer = super().predict(paths)
        if len(noted()) > 10 and GO_ON not in noted():
            note(WAITING)
            while GO_ON not in noted():
                time.sleep(0.02)
        return answer


class Timed(Toy):
    def predict(self, paths):
        return [Prediction(path.id, 0.5, seconds=12.0) for path in paths]


class KilledOnce(Toy):
    """One that is killed when all that its worker has predicted has come back; a cluster may lose what has not."""

    def predict(self, paths):
        if paths[0].id == DEADLY and "killed" not in noted():
            while any(f"{ARRIVED} {path_id}" not in noted() for path_id in noted(os.getpid()) if path_id != "fit"):
                time.sleep(0.02)
            note("killed")
            die()
        return super().predict(paths)


class Troubled(Toy):
    def predict(self, paths):
        answer = super().predict(paths)
        if paths[0].id == DEADLY:
            die()
        if paths[0].id == ODD:
            raise OddError(1, 2)
        return answer


class Spoiled(Toy):
    """One that is of no use once it raised."""

    def predict(self, paths):
        answer = super().predict(paths)
        if paths[0].id == ODD:
            raise OddError(1, 2)
        if noted().count("fit") == 1 and ODD in noted():
            raise SystemExit(3)
        return answer


class RaisesAlways(Toy):
    def predict(self, paths):
        raise OddError(3, 4)


class NotOfAluminium(Toy):
    """One that fails on a whole fold of leave-ion-out, as a potential without that element does."""

    def predict(self, paths):
        answer = super().predict(paths)
        if paths[0].mobile_ion == "Al":
            raise OddError("Al", "known")
        return answer


class NoWeights(Toy):
    def predict(self, paths):
        if len(noted()) > 3 and "weights" not in noted():
            raise EmigbenchError("There are no weights.")
        return super().predict(paths)


class Another(Toy):
    def predict(self, paths):
        return [Prediction("another", 0.5)]


class Fitted:
    """An ordinary model: the mean of the training side, moved a little by the seed."""

    def fit(self, train, *, seed):
        note("fit")
        self.answer = sum(entry.e_m for entry in train) / len(train) + seed / 100

    def predict(self, paths):
        return [Prediction(path.id, self.answer) for path in paths]


class FittedOnce(Fitted):
    """One whose second fit is killed the first time."""

    def fit(self, train, *, seed):
        super().fit(train, seed=seed)
        if noted().count("fit") == 2:
            die()


class FittedNever(Fitted):
    def fit(self, train, *, seed):
        die()


def die():
    """Be killed, as by a machine that is out of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def note(text):
    with (Path(os.environ["EMIGBENCH_TOYS"]) / str(os.getpid())).open("a") as stream:
        stream.write(f"{text}\n")


def arrived(name, done, total):
    """Write down, as the progress of a run, what came back."""
    note(f"{ARRIVED} {name}")


def noted(by="*") -> list[str]:
    """All lines so far, of all processes or of one."""
    return [line for file in Path(os.environ["EMIGBENCH_TOYS"]).glob(str(by)) for line in file.read_text().splitlines()]
