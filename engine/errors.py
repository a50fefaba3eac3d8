"""The error types.

Each message names the file, row or key, the reason and the fix, in at most three short sentences.

    MiddoError            anything a person can act on; the command line prints it without a traceback  exit 1
    ├─ ConfigError        config.toml: unknown key, wrong type, impossible combination            exit 2
    ├─ UsageError         an invalid path or argument                                             exit 2
    ├─ DataError          a dataset file that cannot be read at all (single bad rows are quarantined, never raised)
    ├─ StoreError         the project's database: missing, newer schema, network filesystem
    │  └─ StoreBlocked    locked by another program, or the disk is full: retry later
    ├─ ModelError         a model, tokenizer, adapter or chat template that cannot be loaded or used
    ├─ BackendError       a backend that cannot do what its role needs
    │  └─ EndpointError   one request to an endpoint failed; has the HTTP status
    ├─ StageError         a stage cannot run with the inputs it found
    └─ WorkerError        the worker: already running, lost, cannot start
       └─ WorkerGone      its project was removed, moved or replaced while it ran

A sample that fails on its own (an unreadable rating, a malformed reply, a row that is too long) is not an error but
a row with a reason. ``Paused``, ``Cancelled`` and ``Waiting`` are ways a stage ends, not errors.
"""

from __future__ import annotations


class MiddoError(Exception):
    """Base of all errors that a person can act on. ``exit_code``: the command line's exit code."""

    exit_code = 1


class ConfigError(MiddoError):
    """config.toml is invalid."""

    exit_code = 2


class UsageError(MiddoError):
    """A path or argument on the command line is invalid."""

    exit_code = 2


class DataError(MiddoError):
    """A dataset file cannot be read at all."""


class StoreError(MiddoError):
    """The project's database cannot be opened, read or written."""


class StoreBlocked(StoreError):
    """Another program has locked the database, or the disk is full. Nothing was written; retry later. ``trouble``:
    ``locked`` or ``full``.
    """

    def __init__(self, message: str, trouble: str) -> None:
        super().__init__(message)
        self.trouble = trouble


class ModelError(MiddoError):
    """A model, tokenizer, adapter or chat template cannot be loaded or used."""


class BackendError(MiddoError):
    """A backend cannot do what its role needs."""


class EndpointError(BackendError):
    """One request to an endpoint failed. ``status``: HTTP status; 0 without a reply, 200 for an unusable reply."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class StageError(MiddoError):
    """A stage cannot run with the inputs it found."""


class WorkerError(MiddoError):
    """The worker is already running, was lost, or cannot start."""


class WorkerGone(WorkerError):
    """The project's folder or database was removed, moved or replaced while the worker ran."""


class Paused(Exception):
    """The stage stopped at a resumable point because the job's ``want`` is pause."""


class Cancelled(Exception):
    """The stage stopped because the job's ``want`` is cancel."""


class Waiting(Exception):
    """The stage waits for a person. The message says for what; it may be empty for the review stage."""


def why_unreached(error: object) -> str:
    """Why a server gave no answer, in words, from what a socket, TLS or HTTP raised. Neither the address nor a header
    is in it: both may be secrets.
    """
    import http.client
    import socket
    import ssl

    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return f"its host name is not known here ({error.strerror})"
    if isinstance(error, ssl.SSLError):
        said = getattr(error, "verify_message", "") or (getattr(error, "reason", "") or "").replace("_", " ").lower()
        return f"TLS failed ({said or 'no reason given'})"
    if isinstance(error, ConnectionError | http.client.RemoteDisconnected):
        return error.strerror or "the connection was closed"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, http.client.HTTPException) and not isinstance(error, http.client.InvalidURL):
        return "the answer is not HTTP"
    return "the address or a header is not valid"
