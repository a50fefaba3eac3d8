"""A web service of the user's that looks at every rewrite: ``verify.url``.

Each rewrite is posted to it as JSON. It answers 200 with ``{"ok": true}``, or ``{"ok": false, "reason": "why"}``.
Anything else (it is not there, another status, another answer, too late) is a fault of the service: the stage stops,
since neither verdict would be true. No header carries a secret, and redirects are not followed.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from engine.config.addresses import hosts_elsewhere
from engine.config.schema import Config
from engine.errors import StageError, why_unreached
from engine.verification.candidates import Candidate
from engine.verification.text_checks import Rejection
from engine.verification.validators import SERVICE, Validator, question

READ, SHOWN = 64 << 10, 200
"""Bytes of its answer that are read; characters of its reason that are kept."""


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the texts to another host."""

    def redirect_request(self, *args: object, **kwargs: object) -> None:
        return None


class WebService(Validator):
    """The service of [verify] url."""

    def __init__(self, config: Config, passed: Path) -> None:
        how = config.verify
        super().__init__(how.url, how.url_jobs, passed)
        self._url, self._timeout_s = how.url, how.url_timeout_s
        direct = () if hosts_elsewhere(how.url) else (urllib.request.ProxyHandler({}),)  # a shell's proxy is for others
        self._opener = urllib.request.build_opener(_Stay, *direct)

    @property
    def name(self) -> str:
        """Its host: a path may be a secret, and so is a password."""
        return urlsplit(self._url).netloc.rpartition("@")[2]

    def look(self, one: Candidate) -> Rejection | None:
        """See ``Validator``."""
        try:
            told = json.loads(self._answer(one))
        except (ValueError, RecursionError):  # RecursionError: lists in lists in lists …
            raise self._fault(one, "gave an answer that is not JSON") from None
        ok = told.get("ok") if isinstance(told, dict) else None
        if not isinstance(ok, bool):
            raise self._fault(one, "gave an answer without ok = true or false")
        said = (
            str(told.get("reason") or "").encode("utf-8", "replace").decode().strip()
        )  # half a character cannot be saved
        lines = [line.strip()[:SHOWN] for line in said.splitlines() if line.strip()]
        return None if ok else Rejection(SERVICE, lines[0] if lines else "it gave no reason")

    def _answer(self, one: Candidate) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "middo-tui"}
        request = urllib.request.Request(self._url, json.dumps(question(one)).encode(), headers)  # noqa: S310 - http(s)
        until = time.monotonic() + self._timeout_s
        try:
            with self._opener.open(request, timeout=self._timeout_s) as reply:
                status, body = int(reply.status), b""
                while len(body) <= READ and (part := reply.read1(READ)):
                    body += part
                    if time.monotonic() > until:  # the socket's own limit is for each part
                        raise TimeoutError
        except urllib.error.HTTPError as error:
            error.close()
            raise self._fault(one, f"answered with status {error.code}") from None
        except TimeoutError:
            raise self._fault(one, f"took longer than url_timeout_s = {self._timeout_s:g}") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise self._fault(one, f"took longer than url_timeout_s = {self._timeout_s:g}") from None
            raise self._fault(one, f"was not reached ({why_unreached(reason)})") from None
        if status != 200:
            raise self._fault(one, f"answered with status {status}")
        if len(body) > READ:
            raise self._fault(one, f"gave an answer of more than {READ >> 10} KiB")
        return body

    def _fault(self, one: Candidate, what: str) -> StageError:
        return StageError(
            f"[verify] url: {self.name} {what} (rewrite of #{one.sample.seq}, {one.row.axis}). It answers 200 with"
            ' {"ok": true} or {"ok": false, "reason": "why"}. Mend the service or empty url, then run again.'
        )
