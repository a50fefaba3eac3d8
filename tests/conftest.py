"""Fixtures shared by the tests; see ``tiny``."""

from __future__ import annotations

import gc
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.files.scratch import Scratch
from tests.support import surroundings

# A worker's place lies beside that of its controller, not in it: a socket's path has to be short.
tempfile.tempdir = os.environ.get("PYTEST_DEBUG_TEMPROOT")
PLACE = Scratch("middo-tests-")  # before a test file is imported: libraries read their settings when they are
PLACE.path.chmod(0o755)  # a test may become another user
surroundings.leave(os.environ, PLACE.path)

try:
    from hypothesis import HealthCheck, settings
except ModuleNotFoundError:  # the environment of the tests with real vLLM, which generate nothing
    pass
else:  # a machine under load is no failure: what blocks is a count, never a time
    anywhere = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("explore", anywhere)  # other examples every time: --hypothesis-profile explore
    settings.register_profile("same", anywhere, derandomize=True)  # a commit's tests pass again where they passed
    settings.load_profile("same")


def pytest_collection_finish() -> None:
    """The test files are imported: the objects of their libraries, a million with torch, are nothing to collect."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """No file is left behind, also by a library or by a process that a test has killed."""
    PLACE.remove()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random two-layer Llama with tokenizer and chat template."""
    from tests.support import tiny

    return tiny.make_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def own_models() -> Iterator[None]:
    """What a test does to a loaded model is for it alone."""
    from engine.backends import hf

    yield
    hf.release()


@pytest.fixture(scope="session", autouse=True)
def state_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test adds its projects to those that the person at this machine has opened, or reads or writes their keys
    and theme; nor does a shared fixture.
    """
    base = tmp_path_factory.mktemp("states")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(base / "shared"))
        patch.setenv("XDG_CONFIG_HOME", str(base / "shared-config"))
        yield base


@pytest.fixture(autouse=True)
def own_state(state_folders: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """What one test has opened or set, no other finds. The folders are made by whoever writes into them."""
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    with pytest.MonkeyPatch.context() as patch:  # its own: a test may undo what ``monkeypatch`` did
        patch.setenv("XDG_STATE_HOME", str(state_folders / name))
        patch.setenv("XDG_CONFIG_HOME", str(state_folders / f"{name}-config"))
        yield
