"""What the README shows is what the project does."""

import json
import re
from pathlib import Path

import emigbench

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
    loop, model = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    loop = loop.replace('emigbench.load("full")', 'emigbench.load("spinels")')
    model = model.replace("...                                     #", "pass  #")
    names = {"emigbench": emigbench}
    exec(model + "model = MyModel()\n" + loop, names)
    assert names["report"].n == 11
    assert names["report"].metrics["mae"].value > 0


def test_how_often_the_interval_holds_is_what_the_leaderboard_has():
    results = json.loads((ROOT / "leaderboard" / "results.json").read_text(encoding="utf-8"))
    words = (
        "of the barriers of the official test set",
        "in `material-cv`",
        "on unseen structural groups",
        "on unseen ions",
    )
    for split, what in zip(("official", "material-cv", "leave-group-out", "leave-ion-out"), words, strict=True):
        (row,) = (row for row in results["boards"][split] if row["slug"] == "path-forest")
        held = row["score"]["metrics"]["interval_coverage"]
        assert f"{held['value']:.0%} [{held['low']:.0%}, {held['high']:.0%}] {what}" in README


def test_every_path_that_it_names_is_there():
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
