"""The four source files of the dataset: where they come from, how they are checked and read.

They are facts of a public repository at a pinned commit (Devi, Butler, Sai Gautam, DOI 10.1038/s41524-026-01972-8)
and are never part of this package.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emigbench.errors import EmigbenchError, in_words
from emigbench.storage import sha256_of

if TYPE_CHECKING:
    import pandas as pd

COMMIT = "577fbc45d8edb081a7b67b82f135c55ad0a4a256"
BASE_URL = f"https://raw.githubusercontent.com/sai-mat-group/predicting-migration-barriers/{COMMIT}"


@dataclass(frozen=True)
class SourceFile:
    """One file of the source repository, pinned by its content."""

    path: str
    sha256: str

    @property
    def name(self) -> str:
        """File name, which is also its name in a local mirror."""
        return Path(self.path).name


BANDS_TRAIN = SourceFile(
    "DATA_FILES/MODEL-3-4/RAW/RAW-Em-5-images-TRAIN.json",
    "e6d5579769d8ac2bdee2bdf462c5f24b3410779c7a768ed6673f0e47f9865c7c",
)
BANDS_TEST = SourceFile(
    "DATA_FILES/MODEL-3-4/RAW/RAW-Em-5-images-TEST.json",
    "7e85991d547c7245d7dbccc9c700c3c94bb107d4a59661cffd53de74338a1aee",
)
ENDPOINTS_TEST = SourceFile(
    "DATA_FILES/MODEL-1-2/RAW/BOTH-RAW-Em-TEST.json",
    "e4593adbeaa029967b1cdf5e2484399ddf679c7f16cb18396863c34de297892f",
)
TABLE = SourceFile(
    "TABULATION-GIT-HUB.xlsx",
    "a460c28feca0157d25d066c2a7b85056da43bd019332ec0226a4cc96583ea45d",
)
SOURCE_FILES = (BANDS_TRAIN, BANDS_TEST, ENDPOINTS_TEST, TABLE)

JsonRecord = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Sources:
    """The parsed source files.

    Attributes:
        bands: JSON records with five images, by split side.
        endpoints: JSON records with both endpoint cells of the test paths, by id.
        table: the sheet of all 619 paths, indexed by id.
    """

    bands: dict[str, list[JsonRecord]]
    endpoints: dict[str, JsonRecord]
    table: pd.DataFrame


def check_mirror(folder: Path) -> None:
    """Make sure that a folder holds every source file with the pinned content.

    Raises:
        EmigbenchError: naming the first file that is missing or differs.
    """
    for source in SOURCE_FILES:
        file = folder / source.name
        if not file.is_file():
            raise EmigbenchError(
                f"Source file {source.name} is missing in {folder}; put the files of commit {COMMIT[:8]} there."
            )
        digest = sha256_of(file)
        if digest != source.sha256:
            raise EmigbenchError(
                f"Source file {file} has sha256 {digest[:12]}…, expected {source.sha256[:12]}…: it is damaged or "
                f"another version; replace it by the file of commit {COMMIT[:8]}."
            )


def download(folder: Path, base_url: str = BASE_URL) -> None:
    """Fetch the source files that `folder` lacks; a file is only ever put there whole and checked.

    A connection that breaks is taken up where it stopped, also by a later call. A bar shows the progress.

    Raises:
        EmigbenchError: if a file cannot be had.
    """
    import pooch

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmigbenchError(f"Cannot create the folder {folder}: {error.strerror}.") from error
    fetcher = pooch.create(
        path=folder,
        base_url=base_url,
        registry={source.name: f"sha256:{source.sha256}" for source in SOURCE_FILES},
        urls={source.name: f"{base_url}/{source.path}" for source in SOURCE_FILES},
        retry_if_failed=1,
    )
    pooch.get_logger().setLevel("ERROR")
    for source in SOURCE_FILES:
        try:
            fetcher.fetch(source.name, downloader=_resuming_downloader)
        except Exception as error:  # requests', the system's, and pooch's for content that is not the pinned one
            raise EmigbenchError(f"Could not download {base_url}/{source.path}: {_reason(error)}.") from error


def _resuming_downloader(url: str, output_file: str, pooch: Any) -> None:
    """Download `url` from where an earlier attempt stopped, and hand it over whole.

    A connection that breaks is opened again as long as each one brings something.
    """
    import requests

    partial = Path(pooch.path) / f"{Path(url).name}.part"
    while True:
        had = partial.stat().st_size if partial.exists() else 0
        try:
            _append_rest(url, partial)
            break
        except requests.RequestException:
            if not partial.exists() or partial.stat().st_size <= had:
                raise
    partial.replace(output_file)


def _append_rest(url: str, partial: Path) -> None:
    """Ask for what `partial` lacks of `url` and append it; begin anew where the server sends all of it."""
    import requests
    from tqdm import tqdm

    with partial.open("ab") as file:
        start = file.tell()
        # unpacked, because ranges of a compressed answer would not fit what is already there
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
            if start and response.status_code == requests.codes.requested_range_not_satisfiable:
                return  # nothing is left to fetch; the hash decides
            response.raise_for_status()
            if response.status_code != requests.codes.partial_content:
                file.truncate(0)
                start = 0
            total = int(response.headers.get("Content-Length", 0)) + start or None
            with tqdm(total=total, initial=start, desc=Path(url).name, unit="B", unit_scale=True, leave=False) as bar:
                for chunk in response.iter_content(_CHUNK_BYTES):
                    file.write(chunk)
                    bar.update(len(chunk))


_TIMEOUT_S = 30
_CHUNK_BYTES = 1 << 16


def _reason(error: Exception) -> str:
    """Why a download failed, in words: what the libraries say is long and repeats the address."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return f"no answer within {_TIMEOUT_S} s"
    if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
        return "no connection, or it broke"
    if isinstance(error, requests.RequestException):
        return in_words(error)
    if isinstance(error, ValueError):  # pooch's hash check
        return "the content is not that of the pinned file"
    return in_words(error)


def read(folder: Path) -> Sources:
    """Parse the source files of a folder that `check_mirror` accepts.

    Raises:
        EmigbenchError: if a file is not what it should be.
    """
    import pandas as pd

    check_mirror(folder)
    return Sources(
        bands={"train": _read_json(folder / BANDS_TRAIN.name), "test": _read_json(folder / BANDS_TEST.name)},
        endpoints={record["sys_name"]: record for record in _read_json(folder / ENDPOINTS_TEST.name)},
        table=pd.read_excel(folder / TABLE.name, sheet_name="COMPLETE-TABUATION").set_index("sys_name"),
    )


def _read_json(file: Path) -> list[JsonRecord]:
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EmigbenchError(f"{file} is not valid JSON ({error}); fetch it again.") from error
    return list(records)
