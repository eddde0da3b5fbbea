"""Text made fit for a page: no control characters, links to the web alone, numbers that every machine rounds alike."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

LONGEST = 3000
"""Characters of a free text that a page shows."""

_LINK = re.compile(
    r"(?P<url>https?://(?=\w)[^\s<>\"'`{}|\\^\[\]]+)"
    r"|(?P<doi>\b10\.\d{4,9}/[^\s<>\"'`{}|\\^\[\],;]+)"
    r"|(?P<host>(?<![\w@./:-])(?:github\.com|gitlab\.com|huggingface\.co|zenodo\.org|arxiv\.org)/[\w./-]+)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Part:
    """A piece of text, and the address that it leads to if it is a link."""

    text: str
    href: str = ""


def steady(value: float) -> float:
    """A number to 12 digits, to be rounded further.

    What differs beyond is the processor's, and would decide how ties round: the mean of 20 errors with 4 decimals
    is often a tie at the third.
    """
    return float(f"{value:.12g}")


def clean(text: object, longest: int = LONGEST) -> str:
    """One line without control, formatting (direction marks) or unpaired characters, cut where it is too long."""
    joined = " ".join(str(text)[: 4 * longest].split())
    kept = "".join(c for c in joined if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn"))
    return kept if len(kept) <= longest else f"{kept[: longest - 1]}…"


def linked(text: object) -> list[Part]:
    """The text cut into plain parts and links: http, https, DOIs and a few well-known hosts, nothing else."""
    cleaned = clean(text)
    parts: list[Part] = []
    end = 0
    for match in _LINK.finditer(cleaned):
        shown = match.group().rstrip(".,;:)!?")
        if match.start() > end:
            parts.append(Part(cleaned[end : match.start()]))
        parts.append(Part(shown, _address(shown, match.lastgroup)))
        end = match.start() + len(shown)
    return [*parts, Part(cleaned[end:])] if cleaned[end:] else parts


def _address(shown: str, kind: str | None) -> str:
    return {"doi": f"https://doi.org/{shown}", "host": f"https://{shown}"}.get(kind or "", shown)
