"""A shell's proxy is for other machines: a server on this one is reached without it, and a bad one is named."""

from __future__ import annotations

import pytest

from engine.backends import batch_api_check, offered_models
from engine.errors import BackendError
from tests.support.chat_server import MODEL, Server

KEY = "a key of some length"
# Nobody listens at port 9. GNOME writes the second form.
PROXIES = {"http_proxy": "http://127.0.0.1:9", "all_proxy": "socks://127.0.0.1:9/", "ALL_PROXY": "socks5://127.0.0.1:9"}


@pytest.fixture(params=PROXIES, autouse=True)
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("KEY", KEY)
    monkeypatch.setenv(request.param, PROXIES[request.param])
    return PROXIES[request.param]


def test_a_server_on_this_machine_is_asked_without_it() -> None:
    with Server(key=KEY) as server:
        assert offered_models.available(server.url, "KEY") == {MODEL: None}
        batch_api_check.check(server.url, "KEY")


def test_a_server_elsewhere_is_asked_through_it(proxy: str) -> None:
    """Nothing listens there, or it cannot be used; the reason is said."""
    said = "cannot reach it" if proxy.startswith("http") else "this shell's proxy cannot be used: .* Change or unset"
    for ask in (offered_models.available, batch_api_check.check):
        with pytest.raises(BackendError, match=said):
            ask("http://192.0.2.1/v1", "KEY")
