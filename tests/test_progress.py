"""Progress of long work, where stderr is a file."""

from __future__ import annotations

import itertools

from emigbench import progress
from emigbench.progress import progress_on_stderr


def test_a_log_gets_fewer_and_fewer_lines_with_the_time_left(monkeypatch, capsys):
    monkeypatch.setattr(progress.time, "monotonic", itertools.count(step=10).__next__)  # ten seconds between calls
    with progress_on_stderr("Bands") as report:
        for done in range(1, 21):
            report(f"path {done}", done, 20)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Bands: 1 of 20 done, about 0:03:10 left, the last is path 1"
    assert [int(line.split()[1]) for line in lines] == [1, 2, 3, 5, 9, 16]


def test_work_taken_up_again_is_not_timed_by_what_was_there_before(monkeypatch, capsys):
    monkeypatch.setattr(progress.time, "monotonic", itertools.count(step=10).__next__)
    with progress_on_stderr("Bands") as report:
        report("path 91", 91, 100)
    assert "about 0:01:30 left" in capsys.readouterr().err
