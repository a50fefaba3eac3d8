"""Uploads a dataset folder to the Hugging Face Hub, on request. The only place where a dataset leaves the machine.

huggingface_hub handles the token (``HF_TOKEN`` or its login); it is never read here.
"""

from __future__ import annotations

from pathlib import Path

from engine.errors import BackendError, UsageError
from engine.hub.errors import transport


def check(name: str) -> str:
    """The URL of the dataset ``name`` (owner/name). Sends nothing.

    Raises:
        UsageError: not such a name.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, but not declared so

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UsageError(f"--push {name}: {str(error).rstrip('.')}. Names look like owner/name.") from None
    if "/" not in name:
        raise UsageError(f"--push {name}: names look like owner/name.")
    return f"{constants.ENDPOINT}/datasets/{name}"


def push(folder: Path, name: str, private: bool) -> None:
    """Upload ``folder`` as one commit to the dataset ``name``, which is made if it is not there.

    Raises:
        BackendError: the hub cannot be reached, or refuses; ``folder`` stays and can be uploaded again.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    again = f"{folder} is complete; retry with: hf upload {name} {folder} --repo-type dataset"
    api = HfApi()
    try:
        api.create_repo(name, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(repo_id=name, repo_type="dataset", folder_path=folder, commit_message="Upload by middo-tui")
    except HfHubHTTPError as error:
        status = error.response.status_code
        why = "set HF_TOKEN to a token with write access" if status in (401, 403) else "check the Hub's status page"
        raise BackendError(f"--push {name}: the Hugging Face Hub answered {status}; {why}. {again}") from None
    except ValueError:
        raise BackendError(
            f"--push {name}: what answered at {api.endpoint} is not a Hugging Face Hub; check HF_ENDPOINT. {again}"
        ) from None
    except (transport(), OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise BackendError(f"--push {name}: cannot reach the Hugging Face Hub ({reason}). {again}") from None
