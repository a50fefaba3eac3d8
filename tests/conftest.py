"""Fixtures shared by the tests; see ``tiny``."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random two-layer Llama with tokenizer and chat template."""
    from tests.support import tiny

    return tiny.make_model(tmp_path_factory.mktemp("tiny") / "model")
