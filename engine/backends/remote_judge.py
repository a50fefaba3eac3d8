"""What judges on servers have in common: the connection, with the limits and retries of [teacher], and closing it."""

from __future__ import annotations

from engine.backends.chat import Chat
from engine.backends.openai import Endpoint, EndpointLimits
from engine.config import schema as configs
from engine.plurals import counted


class RemoteJudge:
    """The servers that [judge] names, asked for ``model``. Close it after use.

    Args:
        speaks: the API, as a class.
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
        """Requests submitted and not taken yet."""
        return self.endpoint.in_flight

    def summary(self) -> str:
        """A log line for the end of the stage."""
        return f"ratings of {self.endpoint.model} by {self.endpoint.servers.shares()}"

    def stopping(self) -> str:
        """A log line on what a pause does to the requests in flight."""
        return f"pausing: {counted(self.in_flight, 'request in flight is', 'requests in flight are')} {self.on_pause}"

    def close(self) -> None:
        """Drop requests in flight, run each server's closing work (such as unloading an adapter), and disconnect."""
        self.endpoint.close()
