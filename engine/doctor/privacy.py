"""Which texts leave this machine, and to which host."""

from __future__ import annotations

from engine.config.schema import Config
from engine.doctor.finding import Finding


def leaves(config: Config) -> Finding:
    """What is sent to the teacher, to the judge, to the user's own web service and to other machines."""
    how, judge, service = config.teacher, config.judge.sent_to, config.verify.sent_to
    sent, fixes = [], []
    if how.sent_to:
        files = " in files" if how.batch else ""
        sent.append(f"prompts, responses and neighbours of selected samples are sent to {how.sent_to}{files}")
        fixes.append("use a local teacher")
    if judge:
        sent.append(f"all samples and rewrites are sent to {judge} ([judge] url)")
        own = 'backend = "hf"' if config.judge.backend == "server" else 'model = "tuned"'
        fixes.append(f"set [judge] {own}")
    if service:
        sent.append(f"rewrites and their originals are sent to {service} ([verify] url)")
        fixes.append("empty [verify] url")
    if config.launch.nodes > 1:
        sent.append("samples and checkpoints are sent to the machines that join, unencrypted ([launch] nodes)")
        fixes.append("set [launch] nodes = 1")
    if not sent:
        return Finding("privacy", f"no text leaves this machine (teacher backend: {how.backend})")
    return Finding("privacy", "; ".join(sent), fix=f"{' and '.join(fixes)} if they must not leave this machine")
