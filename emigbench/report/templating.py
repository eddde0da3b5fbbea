"""Templates of the pages: everything is escaped, and a name that is not given is an error."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def environment() -> Environment:
    """The templates beside this module."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("emigbench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def asset(name: str) -> str:
    """The text of a script or style sheet of the pages."""
    return (resources.files("emigbench.report") / "assets" / name).read_text(encoding="utf-8")


def script_hash(script: str) -> str:
    """What a content security policy names a script by that stands in the page: its sha256 in base 64."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
