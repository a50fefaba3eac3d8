"""Error messages for failed downloads from the Hub, with the fix. Used for datasets and models."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

OFFLINE = "HF_HUB_OFFLINE is set"


def why(error: Exception, address: str) -> str:
    """What ``error``, raised by huggingface_hub, means. ``address`` is the page of what was asked for.

    Raises:
        Exception: ``error`` itself, when it is nothing that huggingface_hub raises on its way.
    """
    from huggingface_hub import constants, errors

    reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    if isinstance(error, errors.HFValidationError):
        return f"{reason}. A name on the Hub looks like owner/name."
    if isinstance(error, errors.GatedRepoError):
        return f"it is gated. Request access at {address}, then set HF_TOKEN, or log in with `hf auth login`"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"no such revision. {address} lists its branches and tags."
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"no such path, and not on the Hugging Face Hub ({constants.ENDPOINT}), or private."
            " Check the spelling; set HF_TOKEN for a private one."
        )
    if isinstance(error, errors.HfHubHTTPError):
        refused = error.response.status_code in (401, 403)
        return f"{_answered(error)}. {'Set HF_TOKEN to a token that may read it.' if refused else 'Try again later.'}"
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return f"{_unreachable(error)}, and not all of it is in the cache ({constants.HF_HUB_CACHE}). {_once()}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full. {room(Path(constants.HF_HUB_CACHE))}"
    if isinstance(error, OSError | transport()):
        return f"the download was interrupted ({reason}). Complete files stay in the cache. Try again."
    if isinstance(error, ValueError):
        return f"what answers at {constants.ENDPOINT} is not a Hugging Face Hub. Check HF_ENDPOINT."
    raise error


def transport() -> type[Exception]:
    """The base of what the HTTP library raises. Which library that is differs between versions of huggingface_hub: its
    base error is the first parent of theirs.
    """
    from huggingface_hub.errors import HfHubHTTPError

    return HfHubHTTPError.__bases__[0]


def room(cache: Path) -> str:
    """How to free disk space for downloads."""
    return f"Free some space, or set HF_HOME to a folder on a larger disk (the cache is {cache})."


def _answered(error: HfHubHTTPError) -> str:
    from huggingface_hub import constants

    return f"the Hugging Face Hub ({constants.ENDPOINT}) answered {error.response.status_code}"


def _unreachable(error: Exception) -> str:
    """Why only the cache was available; huggingface_hub keeps the reason as the exception's cause."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error.__cause__, HfHubHTTPError):
        return _answered(error.__cause__)
    return OFFLINE if constants.is_offline_mode() else f"cannot reach the Hugging Face Hub ({constants.ENDPOINT})"


def _once() -> str:
    from huggingface_hub import constants

    return (
        "Download it once without that variable."
        if constants.is_offline_mode()
        else "Check the network and HF_ENDPOINT."
    )
