"""What can go wrong between us and the Hugging Face Hub: what may pass is tried again, all else is one sentence."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from emigbench.errors import EmigbenchError, in_words

Found = TypeVar("Found")

WAITS_S = (1.0, 3.0)
"""Before a second and a third try of what may pass: a server that fails, a connection that breaks."""
TRANSIENT = (408, 429, 500, 502, 503, 504)
"""HTTP answers that may be another one soon."""


def patiently(action: Callable[[], Found]) -> Found:
    """What an action gives, after up to two more tries where the fault may pass."""
    for wait in WAITS_S:
        try:
            return action()
        except Exception as error:
            if not _may_pass(error):
                raise
        time.sleep(wait)
    return action()


def _may_pass(error: Exception) -> bool:
    response = getattr(error, "response", None)
    if response is not None:
        return response.status_code in TRANSIENT
    return _is_transport(error) or "Consistency check failed" in str(error)  # fewer bytes than announced


def _is_transport(error: BaseException) -> bool:
    """Whether an error is the HTTP library's own: the Hub's client went from requests to httpx to httpx2."""
    return type(error).__module__.startswith(("http", "requests"))


def require_token() -> None:
    """Make sure that there is a token for the Hub.

    Raises:
        EmigbenchError: if there is none.
    """
    import huggingface_hub

    if huggingface_hub.get_token() is None:
        raise EmigbenchError("There is no Hub token; run hf auth login, or set HF_TOKEN to a token that may write.")


def check_name(repo: str) -> None:
    """Make sure that a name may be that of a repository, without asking the Hub.

    Raises:
        EmigbenchError: if it may not.
    """
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    with one_sentence(repo, "read"):
        validate_repo_id(repo)


@contextmanager
def one_sentence(repo: str, action: str) -> Iterator[None]:
    """Turn what the Hub's client raises into one sentence.

    Args:
        repo: name of the repository.
        action: what a token must permit, such as "write to".

    Raises:
        EmigbenchError: that sentence.
    """
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        yield
    except EmigbenchError:
        raise
    except HFValidationError as error:
        raise EmigbenchError(f"{repo!r} is no name of a Hub repository, such as group/name.") from error
    except Exception as error:
        reason = _reason(error)
        if isinstance(reason, HfHubHTTPError):
            raise EmigbenchError(_refusal(reason, repo, action)) from error
        if isinstance(reason, OfflineModeIsEnabled):
            raise EmigbenchError(f"HF_HUB_OFFLINE is set; unset it to reach {repo} on the Hub.") from error
        if _is_transport(reason) or isinstance(reason, ConnectionError):
            text = f"The Hub cannot be reached ({in_words(reason)}); try again with a network."
            raise EmigbenchError(text) from error
        if isinstance(reason, OSError) and reason.errno:
            raise EmigbenchError(f"The Hub's files cannot be kept: {reason.strerror}; make room there.") from error
        if isinstance(reason, OSError | ValueError | TypeError | LookupError):  # a proxy's own page, for one
            raise EmigbenchError(f"The Hub's answer is not what it should be ({in_words(reason)}).") from error
        raise


def _reason(error: BaseException) -> BaseException:
    """The error that another one was made from, where the Hub's client wraps it."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    wraps = isinstance(error, LocalEntryNotFoundError) or type(error) in (RuntimeError, ValueError)
    return _reason(error.__cause__) if wraps and error.__cause__ is not None else error


def _refusal(error: Any, repo: str, action: str) -> str:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

    if isinstance(error, EntryNotFoundError):
        return f"The dataset repository {repo} lacks a file of the dataset."
    status = error.response.status_code
    if status == 401 and huggingface_hub.get_token() is not None and not isinstance(error, RepositoryNotFoundError):
        return "The Hub does not know your token; run hf auth login, or set HF_TOKEN to a valid one."
    if status in (401, 404):
        return f"There is no dataset repository {repo} on the Hub that your token can see."
    if status == 403:
        return f"Your Hub token may not {action} {repo}; take one with the permission."
    return f"The Hub answered {status} for {repo} ({in_words(error)}); try again later."
