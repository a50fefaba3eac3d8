"""Known vulnerabilities of the pinned packages: ``make audit``. A tool of this repository, not part of the program.

``python -m audit`` asks PyPI, by pip-audit. With ``--database`` it reads an export of OSV's PyPI advisories instead,
and needs no network. It fails where it cannot tell: an audit without data is never a pass.
"""


class AuditError(Exception):
    """The audit cannot be done; the message says why and what to do."""


CANARY = ("pyyaml", "5.3")
"""A version with well-known vulnerabilities (PYSEC-2020-96, PYSEC-2021-142). A source that lacks them is not trusted.
"""
