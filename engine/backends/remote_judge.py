"""What judges on servers have in common: the connection, as careful and patient as [teacher] says, and its end."""

from __future__ import annotations

from engine.backends.chat import Chat
from engine.backends.openai import Endpoint, EndpointLimits
from engine.config import schema as configs
from engine.plurals import counted


class RemoteJudge:
    """The servers that [judge] names, asked for ``model``. Close it.

    Args:
        speaks: how they are spoken to.
    """

    on_pause = "dropped, and sent again when the run resumes"
    """What becomes of requests in flight."""

    def __init__(self, how: configs.Judge, limits: configs.Teacher, model: str, speaks: type[Chat] = Chat) -> None:
        self.endpoint = Endpoint(
            how.url,
            model,
            how.key_env,
            EndpointLimits.of(limits),
            section="judge",
            more_urls=how.more_urls,
            speaks=speaks,
        )
        self.notes = self.endpoint.notes

    @property
    def in_flight(self) -> int:
        """Requests that were handed over and not taken."""
        return self.endpoint.in_flight

    def summary(self) -> str:
        """A log line for the end."""
        return f"ratings of {self.endpoint.model} by {self.endpoint.servers.shares()}"

    def stopping(self) -> str:
        """A log line: what a pause does to the requests in flight."""
        return f"pausing: {counted(self.in_flight, 'request in flight is', 'requests in flight are')} {self.on_pause}"

    def close(self) -> None:
        """Give up what is in flight, and do what is to be done at each server before it is left."""
        self.endpoint.close()
