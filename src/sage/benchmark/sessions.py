"""Sessions: chats of several turns, each of which repeats what was said before.

A turn's prompt is the system prompt, the turns before it with their answers, and new words. The
answers in it are planned ones of the length that was asked for, not those that came: so every
policy and every engine gets the same prompts. An engine may therefore have the prompts before a
turn cached, but not the answers to them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from sage.benchmark.classes import TrafficClass
from sage.benchmark.lengths import Lengths
from sage.benchmark.planned_request import Message, PlannedRequest
from sage.benchmark.trace_record import BLOCK_TOKENS


def join_turns(
    requests: Sequence[PlannedRequest], system: Lengths | None, rng: random.Random
) -> None:
    """Make each chat request's prompt of what its session said before, and say which are equal.

    Turns have the tenant and the priority of their session's first one. All sessions of a tenant
    begin with the same system prompt.

    Args:
        requests: turns of a session next to each other, each prompt of its new words alone.
        system: tokens of the tenants' system prompts; None for no such prompts.
        rng: draws those.
    """
    prompts = _SystemPrompts(system, rng)
    talk = _Talk()
    first: PlannedRequest | None = None
    for request in requests:
        if request.traffic is not TrafficClass.CHAT:
            continue
        if request.follows is None or first is None:
            first = request
            talk = prompts.talk(request.tenant)
        request.tenant, request.priority = first.tenant, first.priority
        talk.say("user", request.prompt_tokens, request.start)
        request.prompt_tokens = talk.tokens
        request.messages = tuple(talk.messages)
        request.blocks = prompts.blocks(talk)
        talk.say("assistant", request.output_tokens, request.start + request.prompt_tokens)


@dataclass(slots=True)
class _Talk:
    """What a session has said so far, and the ids of its whole blocks."""

    messages: list[Message] = field(default_factory=list)
    tokens: int = 0
    blocks: list[int] = field(default_factory=list)

    def say(self, role: str, tokens: int, start: int) -> None:
        self.messages.append(Message(role, tokens, start))
        self.tokens += tokens


class _SystemPrompts:
    """The system prompt of each tenant, and ids of blocks of which no two are of other text."""

    def __init__(self, lengths: Lengths | None, rng: random.Random) -> None:
        self._lengths = lengths
        self._rng = rng
        self._of: dict[str, _Talk] = {}
        self._next_block = 0

    def talk(self, tenant: str) -> _Talk:
        """Return a session that has its tenant's system prompt, if there are any."""
        if self._lengths is None:
            return _Talk()
        shared = self._of.get(tenant)
        if shared is None:
            shared = self._of[tenant] = _Talk()
            tokens, start = self._lengths.draw(self._rng), self._rng.randrange(1 << 30)
            shared.say("system", tokens, start)
            self.blocks(shared)
        return _Talk(list(shared.messages), shared.tokens, list(shared.blocks))

    def blocks(self, talk: _Talk) -> tuple[int, ...]:
        """Return the ids of a session's whole blocks, with new ones for those that are new."""
        new = talk.tokens // BLOCK_TOKENS - len(talk.blocks)
        talk.blocks += range(self._next_block, self._next_block + new)
        self._next_block += max(0, new)
        return tuple(talk.blocks)
