"""URLs in config.toml: the form that they must have, and which of them lead away from this machine."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import SplitResult, parse_qsl, urlsplit

import msgspec

Address = Annotated[
    str, msgspec.Meta(pattern=r"^https?://[^/\s@]+(/\S*)?$", description="a base URL such as http://127.0.0.1:8000/v1")
]
KEY_NAME = re.compile(r"key|token|secret|passw|auth|credential|signature|^sig$", re.IGNORECASE)
"""Names of parameters whose values are keys."""
HERE = ("localhost", "127.0.0.1", "::1")


def hosts_elsewhere(*urls: str) -> str:
    """The hosts of ``urls`` that are not this machine, each once."""
    hosts = dict.fromkeys(urlsplit(url).hostname or "" for url in urls)
    return ", ".join(host for host in hosts if host and host not in HERE)


def _split(name: str, url: str, example: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # brackets around what is no IPv6 address
        raise ValueError(_wrong(name, example)) from None


def _wrong(name: str, example: str) -> str:
    return f"{name} is not a URL. Example: {example}"


def parts(name: str, url: str, example: str) -> SplitResult:
    """The parts of the setting ``name``; empty ones when it is empty.

    Raises:
        ValueError: it is no URL of a web server; the message has an example.
    """
    found = _split(name, url, example)
    if url and (found.scheme not in ("http", "https") or not found.hostname):
        raise ValueError(_wrong(name, example))
    return found


def without_secrets(name: str, found: SplitResult, instead: str) -> None:
    """Check that the URL ``name`` holds no user, password or key: addresses are printed, logged and backed up.

    Args:
        instead: the way out, in the imperative.
    """
    if found.username is not None or found.password is not None:
        what = "a user name or password"
    elif held := next((one for one, _ in parse_qsl(found.query, keep_blank_values=True) if KEY_NAME.search(one)), ""):
        what = f"a key ({held}=…)"
    else:
        return
    raise ValueError(f"{name} holds {what}, and config.toml is no place for secrets: {instead}")


def check_servers(url: str, more: tuple[str, ...]) -> None:
    """Check that no server is named twice, none beside nothing, that all can be taken apart and hold no secret."""
    if more and not url:
        raise ValueError("more_urls needs url: the first server")
    if len({url, *more}) < 1 + len(more):
        raise ValueError("more_urls names a server twice")
    for name, one in (("url", url), *(("more_urls", one) for one in more)):
        found = _split(name, one, "http://127.0.0.1:8000/v1")
        without_secrets(name, found, "put it into an environment variable, and its name into key_env")
