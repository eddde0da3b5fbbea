"""Models that are fitted fold by fold, and what tests ask of their runs."""

import pytest
from helpers import one_sentence

from emigbench import EmigbenchError
from emigbench.evaluation import evaluate
from emigbench.unfinished import FOLDER as UNFINISHED

MODELS = """
import functools, math, os, time
from pathlib import Path
import numpy as np
from emigbench import LabelledPath, MigrationPath, Prediction

LOG = Path(__file__).with_name("log")

def note(text):
    with LOG.open("a") as stream:
        stream.write(text + "\\n")

class Steady:
    kind = "floor"

    def fit(self, train, *, seed):
        note(f"fit {seed} {train[0].id}")
        self.mean = float(np.mean([path.e_m for path in train]))
        self.random = np.random.default_rng(seed)
        self.details = {"mean": np.float32(self.mean), "loss": np.array([0.5, np.nan]), "n": len(train), 3: LOG}

    def predict(self, paths):
        values = self.random.normal(self.mean, 0.1, len(paths))
        return [Prediction(path.id, value, std=0.1) for path, value in zip(paths, values)]

class Waits(Steady):
    "Stays in its fifth fit until there is a file that says otherwise."
    def fit(self, train, *, seed):
        super().fit(train, seed=seed)
        while len(LOG.read_text().splitlines()) == 5 and not LOG.with_name("go on").exists():
            time.sleep(0.02)

class Resumed(Steady):
    fit_seconds = 86400

class Backwards(Steady):
    def predict(self, paths):
        return reversed(super().predict(paths))

class Tidy(Steady):
    "Empties the list that it was given."
    def predict(self, paths):
        answer = super().predict(paths)
        paths.clear()
        return answer

class Single(Steady):
    "What a network gives: another type of float."
    def predict(self, paths):
        return [Prediction(path.id, np.float32(0.1)) for path in paths]

class Curious(Steady):
    def fit(self, train, *, seed):
        assert all(type(path) is LabelledPath for path in train)
        super().fit(train, seed=seed)

    def predict(self, paths):
        for path in paths:
            assert type(path) is MigrationPath
            assert not hasattr(path, "e_m") and not hasattr(path, "split")
            assert not [name for name in vars(path) if "e_m" in name or "label_flags" in name]
        return super().predict(paths)

class Breaks(Steady):
    "Fails from the third fit on, unless there is a file that says otherwise."
    def fit(self, train, *, seed):
        super().fit(train, seed=seed)
        if len(LOG.read_text().split("\\n")) > 3 and not LOG.with_name("mended").exists():
            raise RuntimeError("out of\\nmemory.")

class Dies(Steady):
    def fit(self, train, *, seed):
        os._exit(1)

class Answers(Steady):
    def predict(self, paths):
        return self.answer(super().predict(paths))

class Fewer(Answers):
    answer = staticmethod(lambda given: given[1:])
class More(Answers):
    answer = staticmethod(lambda given: [*given, given[0]])
class Others(Answers):
    answer = staticmethod(lambda given: [*given[1:], Prediction("elsewhere", 0.5)])
class Diverged(Answers):
    "One barrier and one standard deviation that no file of predictions takes, and a long story."
    answer = staticmethod(lambda given: [
        Prediction(given[0].id, 150.0), Prediction(given[1].id, 0.5, std=1e3), *given[2:]
    ])
    def fit(self, train, *, seed):
        super().fit(train, seed=seed)
        nested = functools.reduce(lambda inner, _: [inner], range(50))
        self.details = {"log": ["x" * 30_000], "y" * 30_000: 1e30, "deep": nested}
        self.fit_seconds = math.nan
class Remarkable(Steady):
    details = property(lambda self: {"remarks": "all went well"}, lambda self, value: None)
class Listing(Steady):
    "Details that are no dictionary, and a time that it has yet to measure."
    details = property(lambda self: ["all", "went", "well"], lambda self, value: None)
    fit_seconds = None
class Talkative(Steady):
    details = property(lambda self: {"losses": [0.123] * 10**6}, lambda self, value: None)
class Chatty(Steady):
    "Five such seeds of five folds are more than a run record holds, indented as it is."
    details = property(lambda self: {"losses": [0.5] * 19_000, "remarks": {"A": "odd"}}, lambda self, value: None)
class Wordy(Steady):
    "And nine of this one's remarks."
    details = property(lambda self: {"remarks": dict.fromkeys("ABCDE", "x" * 19_000)}, lambda self, value: None)
class Numbered(Answers):
    answer = staticmethod(lambda given: [Prediction(k, 0.5) for k, _ in enumerate(given)])
class Numbers(Answers):
    answer = staticmethod(lambda given: np.array([p.e_m for p in given]))
class Nothing(Answers):
    answer = staticmethod(lambda given: None)
class ByPath(Answers):
    answer = staticmethod(lambda given: {p.id: p for p in given})
class Alone(Answers):
    answer = staticmethod(lambda given: given[0])
class NotFinite(Answers):
    answer = staticmethod(lambda given: [Prediction(p.id, float("nan")) for p in given])
class Leaves(Steady):
    def fit(self, train, *, seed):
        raise SystemExit(0)
class Moves(Steady):
    "Works in another folder, and stays there."
    def __init__(self):
        os.chdir(LOG.parent)
    def fit(self, train, *, seed):
        os.chdir("/")
        super().fit(train, seed=seed)
class MovesByPath(Steady):
    one_by_one = True
    def fit(self, train, *, seed):
        os.chdir("/")
    def predict(self, paths):
        os.chdir("/")
        return [Prediction(path.id, 0.5) for path in paths]
class BadDetails(Steady):
    details = property(lambda self: 1 / 0, lambda self, value: None)
"""


def fits(models) -> list[str]:
    log = models.with_name("log")
    return log.read_text().splitlines() if log.exists() else []


def do(model, data, out, *, split_names=("material-cv",), seeds=(0,), **others):
    return evaluate(str(model), data, split_names=split_names, seeds=seeds, out=out, **others)


def refused(*arguments, **options) -> str:
    with pytest.raises(EmigbenchError) as error:
        do(*arguments, **options)
    return one_sentence(error)


def units_kept(out) -> list[str]:
    return sorted(file.name for file in (out / UNFINISHED).glob("*--*.json"))
