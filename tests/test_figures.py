import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from helpers import FULL, one_sentence, run, write_submission

from emigbench import EmigbenchError, drawing, scoring, splits
from emigbench.metrics import Confusion
from emigbench.report import figures, leaderboard
from emigbench.report.figures import parity_plot, race_tracks, scenario_plots, style


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(scoring, "RESAMPLES", 100)


def noisy(split, scale, seed):
    rng = np.random.default_rng(seed)
    return {i: round(FULL.by_id[i].e_m_ev + float(rng.normal(0, scale)), 4) for i in splits.held_out(FULL, split)}


@pytest.fixture
def folder(tmp_path):
    target = tmp_path / "submissions"
    write_submission(target, noisy("official", 0.2, 0), card={"slug": "good", "name": "<b>$x^2$ & good</b>"})
    wild = noisy("official", 0.4, 1)
    wild[next(iter(wild))] = 40.0
    write_submission(target, wild, card={"slug": "wild"})
    write_submission(target, noisy("material-cv", 0.3, 2), card={"slug": "folds"}, split="material-cv")
    write_submission(target, noisy("official-train", 0.1, 3), card={"slug": "fitted"}, split="official-train")
    return target


def drawings(folder, slugs=()):
    return figures.drawings(figures.shown(leaderboard.read_entries(folder, FULL), FULL, slugs), FULL)


def test_each_figure_that_there_are_predictions_for(folder):
    assert list(drawings(folder)) == [
        "figure-2b-scores",
        "figure-3-parity-fitted",
        "figure-3-parity-good",
        "figure-3-parity-wild",
        "figure-4a-race-track-material-cv",
        "figure-4a-race-track-official-train",
        "figure-4cd-scenarios-classes-good",
        "figure-4cd-scenarios-classes-wild",
    ]
    assert list(drawings(folder, ["folds"])) == ["figure-4a-race-track-material-cv"]


def test_every_figure_is_drawn_and_the_bytes_are_the_same_each_time(folder):
    with mpl.rc_context({"font.size": 20, "savefig.facecolor": "red"}):  # a user's own settings
        first = {name: figures.rendered(draw) for name, draw in drawings(folder).items()}
    again = {name: figures.rendered(draw) for name, draw in drawings(folder).items()}
    assert first == again
    for contents in first.values():
        ElementTree.fromstring(contents["svg"])
        assert b"<dc:date>" not in contents["svg"]
        assert contents["pdf"].startswith(b"%PDF")
        assert b"CreationDate" not in contents["pdf"]


def test_values_beyond_an_axis_are_marked(folder):
    models = {model.slug: model for model in figures.shown(leaderboard.read_entries(folder, FULL), FULL)}
    with drawing.looks(style.STYLE):
        figure = parity_plot.parity(models["wild"])
    labels = [text.get_text() for axes in figure.findobj(mpl.legend.Legend) for text in axes.get_texts()]
    assert labels == ["beyond the axis (1)"]


def test_a_parity_plot_shows_each_path_and_the_scores(folder):
    models = {model.slug: model for model in figures.shown(leaderboard.read_entries(folder, FULL), FULL)}
    with drawing.looks(style.STYLE):
        figure = parity_plot.parity(models["good"])
    [dots] = [c for c in figure.findobj(mpl.collections.PathCollection) if len(c.get_offsets()) == 60]
    sample = models["good"].sample("official")
    np.testing.assert_allclose(np.asarray(dots.get_offsets()), np.column_stack([sample.e_m, sample.predicted]))
    texts = " ".join(text.get_text() for text in figure.findobj(mpl.text.Text))
    assert f"MAE {models['good'].mae['official'].value:.3f} eV" in texts


def test_training_paths_keep_their_colour_where_there_are_no_test_paths(folder):
    models = {model.slug: model for model in figures.shown(leaderboard.read_entries(folder, FULL), FULL)}
    with drawing.looks(style.STYLE):
        figure = parity_plot.parity(models["fitted"])
    [dots] = [c for c in figure.findobj(mpl.collections.PathCollection) if len(c.get_offsets()) == 559]
    assert mpl.colors.to_hex(dots.get_facecolor()[0]) == style.BLUE


def test_the_papers_race_tracks():
    found = race_tracks.tracks(FULL, "official-train")
    assert list(found) == list(race_tracks.RACE_TRACKS)
    assert [len(ids) for ids in found.values()] == [2, 3, 2, 3]


def test_confusion_cells():
    cells = scenario_plots._cells(Confusion(tp=24, fp=5, fn=7, tn=24))
    assert cells == {(0, 1): 24, (1, 1): 7, (0, 0): 5, (1, 0): 24}


def test_an_unknown_slug_is_one_sentence(folder):
    with pytest.raises(EmigbenchError) as error:
        drawings(folder, ["nobody"])
    assert "nobody" in one_sentence(error)


def test_the_command_writes_both_formats(folder, tmp_path):
    out = tmp_path / "figures"
    done = run("leaderboard", "figures", "--submissions", folder, "--submission", "good", "--out", out)
    assert done.returncode == 0, done.stderr
    names = sorted(file.name for file in out.iterdir())
    assert len(names) == 6
    assert all(re.search(r"\.(svg|pdf)$", name) for name in names)
    refused = run("leaderboard", "figures", "--submissions", folder, "--submission", "nobody", "--out", out)
    assert refused.returncode == 2
    one_sentence(refused.stderr.strip())
