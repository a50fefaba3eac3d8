"""The error model.

One flat type per boundary; each message names the file, row or key, the reason and the way out.

    MiddoError            anything a person can act on; the command line prints it without a traceback, exit 1
    ├─ ConfigError        config.toml: unknown key, wrong type, impossible combination            exit 2
    ├─ UsageError         a path or argument that cannot be meant                                 exit 2
    ├─ DataError          a dataset file that cannot be read at all (single bad rows are quarantined, never raised)
    ├─ StoreError         the project's database: missing, newer schema, network filesystem
    │  └─ StoreBlocked    locked by another program, or the disk is full: the same may be tried again
    ├─ ModelError         a model, tokenizer, adapter or chat template that cannot be loaded or used
    ├─ BackendError       a backend that cannot do what its role needs
    │  └─ EndpointError   what an endpoint said to one request, with its HTTP status
    ├─ StageError         a stage cannot go on with the inputs it found
    └─ WorkerError        the worker: already running, lost, cannot start
       └─ WorkerGone      its project was removed, moved or replaced while it ran

What is *not* an error: a sample that fails on its own (a rating that cannot be read, a malformed reply, a row that
is too
long) is data, a row with a reason. ``Paused``, ``Cancelled`` and ``Waiting`` are ways a stage ends, not errors.
"""

from __future__ import annotations


class MiddoError(Exception):
    """Base of all errors that are meant for a person. ``exit_code`` is what the command line exits with."""

    exit_code = 1


class ConfigError(MiddoError):
    """config.toml says something that cannot be used."""

    exit_code = 2


class UsageError(MiddoError):
    """A path or argument that cannot be meant."""

    exit_code = 2


class DataError(MiddoError):
    """A dataset file that cannot be read at all."""


class StoreError(MiddoError):
    """The project's database cannot be opened, written or understood."""


class StoreBlocked(StoreError):
    """Another program holds the database, or the disk is full: nothing was done, and waiting helps. ``trouble``:
    ``locked`` or ``full``.
    """

    def __init__(self, message: str, trouble: str) -> None:
        super().__init__(message)
        self.trouble = trouble


class ModelError(MiddoError):
    """A model, tokenizer, adapter or chat template that cannot be loaded or used."""


class BackendError(MiddoError):
    """A backend that cannot do what its role needs."""


class EndpointError(BackendError):
    """What an endpoint said to one request. ``status``: of HTTP; 0 without a reply, 200 for one that is no good."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class StageError(MiddoError):
    """A stage cannot go on with the inputs it found."""


class WorkerError(MiddoError):
    """The worker is already there, is lost, or cannot start."""


class WorkerGone(WorkerError):
    """The project's folder or database is no longer the one that this worker was started for."""


class Paused(Exception):
    """The stage stopped at a resumable point because the job's ``want`` says pause."""


class Cancelled(Exception):
    """The stage stopped because the job's ``want`` says cancel."""


class Waiting(Exception):
    """The stage waits for a person, who is told what for unless the stage's name says it."""
