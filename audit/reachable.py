"""Checks whether PyPI lists advisories here: ``python3 -m audit.reachable`` exits with 0 if so. Needs no package."""

from __future__ import annotations

import json
import sys
from http.client import HTTPException
from urllib.request import urlopen

from audit import CANARY

ADDRESS = f"https://pypi.org/pypi/{CANARY[0]}/{CANARY[1]}/json"
"""The kind of address that pip-audit uses."""
TIMEOUT_S = 15


def why_not(address: str = ADDRESS) -> str | None:
    """None if the reply lists the canary's vulnerabilities, else the reason. A mirror may list none at all."""
    try:
        with urlopen(address, timeout=TIMEOUT_S) as reply:  # noqa: S310 - an address of ours
            answer = json.load(reply)
    except (OSError, HTTPException, ValueError) as error:
        return f"{address} cannot be asked: {error}."
    if not isinstance(answer, dict) or not answer.get("vulnerabilities"):
        return f"{address} names no vulnerability, although this version has some: it is a mirror without advisories."
    return None


if __name__ == "__main__":
    reason = why_not()
    if reason is not None:
        print(f"audit: {reason}", file=sys.stderr)
    sys.exit(reason is not None)
