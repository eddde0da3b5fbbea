"""A process of its own that talks to a Hub: `get` runs the command line, `publish FOLDER [--pull-request]` the upload.

The full dataset's place is taken by the spinels, which need no source files; waits are short and the authors' files
cannot be had. All else is the real program with the real client.
"""

import os
import resource
import sys
from collections.abc import Mapping
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


def forked(arguments: list[str], env: Mapping[str, str], out: Path, err: Path, largest_file: int | None) -> None:
    """The same in a forked process that has imported all but the Hub's client.

    Args:
        arguments: `get` or `publish` with its own.
        env: the whole environment; the Hub's client reads it as it is imported.
        out, err: files that stdout and stderr go to.
        largest_file: bytes beyond which no file may grow, as on a full disk: every write past it fails.
    """
    assert "huggingface_hub" not in sys.modules
    os.environ.clear()
    os.environ.update(env)
    for file, stream in ((out, sys.stdout), (err, sys.stderr)):
        os.dup2(os.open(file, os.O_WRONLY), stream.fileno())
        stream.reconfigure(encoding="utf-8")
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    main(arguments)


def main(arguments: list[str]) -> None:
    catalogue.CATALOGUE["full"] = stand_in()
    transport.WAITS_S = (0.05, 0.05)
    sources.download = no_upstream
    if arguments[0] == "publish":
        folder, as_pull_request = Path(arguments[1]), "--pull-request" in arguments
        cli.app = lambda: publish(folder, as_pull_request)
    else:
        sys.argv = ["emigbench", "data", "get"]
    cli.main()


if __name__ == "__main__":
    main(sys.argv[1:])
