"""What the README shows is what the project does."""

import json
import re
from pathlib import Path
from statistics import fmean

import emigbench
from emigbench import Prediction, load_labels
from emigbench.answer import answer
from emigbench.hop_barriers import HopBarrier, Screened
from emigbench.hops.hop import Hop
from emigbench.predictions import read_predictions
from emigbench.report.screening import hops_csv, structures_csv
from emigbench.report.screening import to_json as screened_as_json

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_result_is_the_leaderboards():
    page = (ROOT / "leaderboard" / "README.md").read_text(encoding="utf-8")
    rows = [line for line in README.splitlines() if re.match(r"\| \d+–\d+ ", line)]
    assert len(rows) >= 4
    for row in rows:
        assert any(line.startswith(row) for line in page.splitlines()), row


def test_the_five_lines_of_python_run():
    """The README's own code, on the embedded dataset and with the model that it shows."""
    model, loop, _for_structures = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names = {}
    exec(model + loop.replace('emigbench.load("full")', 'emigbench.load("spinels")'), names)
    assert names["report"].n == 11
    assert names["report"].metrics["mae"].value > 0


def test_how_often_the_interval_holds_is_what_the_leaderboard_has():
    results = json.loads((ROOT / "leaderboard" / "results.json").read_text(encoding="utf-8"))
    words = {"official": "of the barriers of the official test set", "leave-ion-out": "on unseen ions"}
    for split, what in words.items():
        (row,) = (row for row in results["boards"][split] if row["slug"] == "path-forest")
        held = row["score"]["metrics"]["interval_coverage"]
        assert f"{held['value']:.0%} [{held['low']:.0%}, {held['high']:.0%}] {what}" in README


def test_how_often_the_interval_holds_of_high_barriers():
    labels = load_labels("full")
    found = read_predictions(ROOT / "submissions" / "path-forest" / "predictions.csv", labels)
    high = [(p, labels.by_id[p.id].e_m_ev) for of_seed in found["leave-ion-out"].values() for p in of_seed]
    held = fmean(p.low <= e_m <= p.high for p, e_m in high if e_m > 1.5)
    assert re.search(rf"on unseen ions, .* and {held:.0%} of those above 1\.5 eV there", README)


def test_how_often_small_p_values_come_by_chance_is_what_the_simulation_found():
    found = (ROOT / "benchmarks" / "p_values.txt").read_text(encoding="utf-8")
    at_5_percent, *_, smallest = re.search(r"real, official +(.*)", found)[1].split()
    times = f"about {float(smallest):.0f} times"
    assert f"by chance {times} as often as it should (below 0.05: {at_5_percent} times)" in README
    assert f"[{times}](../benchmarks/p_values.txt)" in (ROOT / "docs" / "report.md").read_text(encoding="utf-8")


def test_the_guide_to_answers_names_every_key_and_column():
    guide = (ROOT / "docs" / "answers.md").read_text(encoding="utf-8")
    path = emigbench.load("spinels")[0].path
    hop = Hop(path, 0, 0, 0.0, "O 1", ())
    plain = {"model": "m", "path": hop.to_json(), **answer(path, Prediction(path.id, 0.5)).to_json()}

    def keys(value):
        if isinstance(value, dict):
            yield from value
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from keys(each)

    hop_barrier = HopBarrier("x#1", (0, 0, 0), (0, 0, 0), 3.0, 6, 0.5, 0.1, 0.9, "ok", ())
    screened = screened_as_json([Screened("x", hops=(hop_barrier,))])
    named = {*keys(plain), *keys(screened), *structures_csv([]).strip().split(","), *hops_csv([]).strip().split(",")}
    assert {"cm2_per_s", "percolation_2d_ev", "multiplicity"} < named
    assert [name for name in sorted(named) if f"`{name}`" not in guide] == []
    told = {word for word in re.findall(r"`([a-z0-9_]+)`", guide) if "_" in word}
    assert told - named <= {"not_converged"}


def test_every_path_that_it_names_is_there():
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
