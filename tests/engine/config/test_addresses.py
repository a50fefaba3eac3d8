"""URLs of config.toml that cannot be taken apart are refused with an example, in every section that has one."""

from __future__ import annotations

import pytest

from engine.config import schema
from engine.errors import ConfigError

BROKEN = "http://[::zz]/v1"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (f'[teacher]\nurl = "{BROKEN}"', "url is not a URL. Example: http://127.0.0.1:8000/v1"),
        (f'[teacher]\nurl = "http://a"\nmore_urls = ["{BROKEN}"]', "more_urls is not a URL. Example: http"),
        (f'[judge]\nurl = "{BROKEN}"', "url is not a URL. Example: http://127.0.0.1:8000/v1"),
        (f'[verify]\nurl = "{BROKEN}"', "url is not a URL. Example: http://localhost:8080/check"),
        (f'[notify]\nwebhook = "{BROKEN}"', "webhook is not a URL. Example: https://ntfy.example.org/middo"),
    ],
)
def test_a_url_that_cannot_be_taken_apart_is_refused(lines: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        schema.parse(f"{lines}\n", "config.toml")
    assert says in str(caught.value)


def test_an_address_in_brackets_is_one() -> None:
    assert (
        schema.parse('[verify]\nurl = "http://[2001:db8::1]:80/check"\n', "config.toml").verify.sent_to == "2001:db8::1"
    )


@pytest.mark.parametrize(
    "secret", ["http://me:pw@h/v1", "https://token@h/v1", "http://h/v1?api_key=x", "http://h/v1?a=b&SIG="]
)
@pytest.mark.parametrize(
    ("text", "way"),
    [
        ('[teacher]\nbackend = "openai"\nmodel = "m"\nurl = "{}"', "its name into key_env"),
        ('[teacher]\nbackend = "openai"\nmodel = "m"\nurl = "http://a/v1"\nmore_urls = ["{}"]', ""),
        ('[judge]\nmodel = "endpoint"\nendpoint_model = "m"\nurl = "{}"', "its name into key_env"),
        ('[verify]\nurl = "{}"', "leave it out"),
        ('[notify]\nwebhook = "{}"', "its name into webhook_env"),
    ],
)
def test_an_address_with_a_key_in_it_is_refused(text: str, way: str, secret: str) -> None:
    """Addresses are printed, logged, stored with every round and backed up."""
    with pytest.raises(ConfigError, match=way) as told:
        schema.parse(text.format(secret), "config.toml")
    if way:
        assert "config.toml is no place for secrets" in str(told.value)


def test_an_address_with_a_parameter_that_is_no_key_is_taken() -> None:
    schema.parse('[teacher]\nbackend = "openai"\nmodel = "m"\nurl = "http://h/v1?api-version=2024"', "config.toml")
