"""What the supervisor is told of an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sage.inference.engines.kinds import EngineKind
from sage.inference.scheduling.request import Kind


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One engine process to run.

    Attributes:
        id: its name among the instances, also of its log file.
        kind: what it serves.
        engine: which program.
        model: the served model id.
        host: address it listens on.
        port: port it listens on.
        command: program and arguments.
        environment: variables for it, unless the supervisor's own environment has them.
        max_requests: requests it works on at once; the gateway holds the rest.
        max_tokens: tokens, prompts and answers together, it may be given at once; None where the
            engine itself holds back what it has no room for.
        max_request_tokens: its longest request, prompt and answer together; None where that
            bounds nothing here.
        chunk_tokens: prompt tokens of one of its steps.
        priorities: whether it orders its own queue by the request field ``priority``.
        note: what the user should be told of its limits; empty for nothing.
    """

    id: str
    kind: Kind
    engine: EngineKind
    model: str
    host: str
    port: int
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    max_requests: int = 256
    max_tokens: int | None = None
    max_request_tokens: int | None = None
    chunk_tokens: int = 8192
    priorities: bool = False
    note: str = ""

    @property
    def url(self) -> str:
        """Its base URL, without /v1."""
        return base_url(self.host, self.port)


def base_url(host: str, port: int) -> str:
    """Return the URL under which something that listens on ``host`` is reached from here."""
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - listening everywhere includes the loopback
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
