"""Fixtures shared by the tests; see ``tiny``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

try:
    from hypothesis import HealthCheck, settings
except ModuleNotFoundError:  # the environment of the tests with real vLLM, which generate nothing
    pass
else:  # a machine under load is no failure: what blocks is a count, never a time
    settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random two-layer Llama with tokenizer and chat template."""
    from tests.support import tiny

    return tiny.make_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session", autouse=True)
def state_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test adds its projects to those that the person at this machine has opened, nor does a shared fixture."""
    base = tmp_path_factory.mktemp("states")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(base / "shared"))
        yield base


@pytest.fixture(autouse=True)
def own_state(state_folders: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """What one test has opened, no other finds in its list. The folder is made by whoever writes into it."""
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    with pytest.MonkeyPatch.context() as patch:  # its own: a test may undo what ``monkeypatch`` did
        patch.setenv("XDG_STATE_HOME", str(state_folders / name))
        yield
