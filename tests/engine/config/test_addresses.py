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
