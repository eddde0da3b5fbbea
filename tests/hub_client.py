"""A process of its own that talks to a Hub: `get` runs the command line, `publish FOLDER [--pull-request]` the upload.

The full dataset's place is taken by the spinels, which need no source files; waits are short and the authors' files
cannot be had. All else is the real program with the real client.
"""

import sys
from dataclasses import replace
from pathlib import Path

from emigbench import cli, transport
from emigbench.datasets import catalogue, sources
from emigbench.errors import EmigbenchError


def stand_in() -> catalogue.DatasetInfo:
    """The catalogue's entry of `full`, with the content of `spinels`."""
    spinels = catalogue.CATALOGUE["spinels"]
    return replace(catalogue.CATALOGUE["full"], sha256=spinels.sha256, n_paths=spinels.n_paths)


def no_upstream(folder: Path) -> None:
    """Instead of a download from the authors' repository."""
    raise EmigbenchError("Could not download the authors' files: no connection.")


def publish(folder: Path, as_pull_request: bool) -> None:
    """Upload the files of a folder, as `emigbench data publish` uploads those that it makes."""
    from emigbench.datasets import publish

    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    print(publish.publish(files, catalogue.hub_repo(), catalogue.info("full"), as_pull_request=as_pull_request))


if __name__ == "__main__":
    catalogue.CATALOGUE["full"] = stand_in()
    transport.WAITS_S = (0.05, 0.05)
    sources.download = no_upstream
    if sys.argv[1] == "publish":
        folder, as_pull_request = Path(sys.argv[2]), "--pull-request" in sys.argv
        cli.app = lambda: publish(folder, as_pull_request)
    else:
        sys.argv = ["emigbench", "data", "get"]
    cli.main()
