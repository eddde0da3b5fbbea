"""Progress of long work on stderr."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

Progress = Callable[[str, int, int], None]
"""Called with the name of what was finished, how many are done, and how many there are."""


@contextmanager
def progress_on_stderr(title: str) -> Iterator[Progress]:
    """Progress on stderr: a bar with the time left, or now and then a line in a log."""
    if not sys.stderr.isatty() or multiprocessing.parent_process() is not None:  # bars of several workers would collide
        yield _log_lines(title)
        return
    from rich import progress as rich
    from rich.console import Console
    from rich.table import Column

    title_column = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    columns = (
        rich.TextColumn("{task.description}", markup=False, table_column=title_column),
        rich.BarColumn(bar_width=20),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn(),
        rich.TimeRemainingColumn(),
    )
    whole_run = float("inf")  # a path can take longer than the bar usually looks back
    with rich.Progress(*columns, console=Console(stderr=True), expand=True, speed_estimate_period=whole_run) as bar:
        task = bar.add_task(title, total=None)
        yield lambda what, done, total: bar.update(task, completed=done, total=total, description=f"{title}: {what}")


def _log_lines(title: str) -> Progress:
    """A line for what is done, the first after two seconds, then less and less often down to once a minute."""
    wait = 2.0
    started = time.monotonic()
    due = started + wait
    before: int | None = None

    def progress(what: str, done: int, total: int) -> None:
        nonlocal wait, due, before
        now = time.monotonic()
        before = done - 1 if before is None else before  # a resumed run does not start at none
        if now > due:
            wait = min(2 * wait, 60.0)
            due = now + wait
            left = timedelta(seconds=round((now - started) / (done - before) * (total - done)))
            print(
                f"{title}: {done} of {total} done, about {left} left, the last is {what}", file=sys.stderr, flush=True
            )

    return progress
