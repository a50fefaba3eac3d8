"""Which texts leave this machine, and to which host."""

from __future__ import annotations

from engine.config.schema import Config
from engine.doctor.finding import Finding


def leaves(config: Config) -> Finding:
    """What is sent to the teacher and to the user's own web service."""
    how, service = config.teacher, config.verify.sent_to
    checked = f"rewrites and their originals are sent to {service} ([verify] url)" if service else ""
    if not (host := how.sent_to):
        if checked:
            return Finding("privacy", checked, fix="empty [verify] url if they must not leave this machine")
        return Finding("privacy", f"no text leaves this machine (teacher backend: {how.backend})")
    files = " in files" if how.batch else ""
    return Finding(
        "privacy",
        f"prompts, responses and neighbours of selected samples are sent to {host}{files}"
        + (f"; {checked}" if checked else ""),
        fix="use a local teacher if they must not leave this machine",
    )
