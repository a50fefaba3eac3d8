"""The process that downloads: what it is given."""

from __future__ import annotations

import psutil
import pytest

from engine.hub.fetch import Fetch


def test_of_keys_and_tokens_it_knows_the_hubs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_planted")
    for name in ("MIDDO_JOIN_TOKEN", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "planted")
    fetch = Fetch("hf://owner/name")
    given: dict[str, str] = {}
    try:
        process = psutil.Process(fetch._process.pid)
        # Popen returns when the file descriptors are closed; the kernel shows the new environment a moment later
        while not given and fetch._process.poll() is None:
            given = process.environ()
    finally:
        fetch._process.kill()
        fetch._process.communicate()
        fetch._log.close()
    assert given["HF_TOKEN"] == "hf_planted"
    assert "planted" not in given.values()
