"""Planned requests as bytes on the wire."""

from __future__ import annotations

import random
from dataclasses import dataclass

import msgspec

from sage.benchmark.classes import TrafficClass
from sage.benchmark.prompts import PromptText
from sage.benchmark.trace_record import BLOCK_TOKENS
from sage.benchmark.workload import PlannedRequest
from sage.inference.gateway.target import Target
from sage.inference.scheduling.slo import SLO

_SPREAD = 2_654_435_761  # sends neighbouring block ids to places far apart in the text
_MARK_TOKENS = 2


@dataclass(frozen=True, slots=True)
class Models:
    """The models a run asks; None where a class does not occur."""

    chat: str | None
    embedding: str | None = None


class RequestWriter:
    """Writes a whole HTTP request in a few microseconds, by joining prepared pieces.

    Args:
        target: where they go.
        models: whom they ask.
        text: where prompts come from.
        ignore_eos: ask the engine not to end early.
        api_key: sent as a bearer token when there is one.
        seed: of the run; a trace's blocks are other text with another seed.
        mark: number of the run; each prompt and text begins with two words that it chooses, so
            that an engine which served another run has none of them cached. None is no such words.
    """

    def __init__(
        self,
        target: Target,
        models: Models,
        text: PromptText,
        *,
        ignore_eos: bool = False,
        api_key: str | None = None,
        seed: int = 0,
        mark: int | None = None,
    ) -> None:
        self._text = text
        self._salt = random.Random(f"{seed}/blocks").randrange(1 << 40)  # noqa: S311 - words
        self._mark = b"" if mark is None else text.pair(mark) + b" "
        bearer = f"authorization: Bearer {api_key}\r\n" if api_key else ""
        head = "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n{bearer}"

        def prepared(path: str) -> bytes:
            whole = f"{target.prefix}{path}"
            return head.format(path=whole, host=target.authority, bearer=bearer).encode("ascii")

        self._chat_head = prepared("/v1/chat/completions")
        self._embedding_head = prepared("/v1/embeddings")
        encode = msgspec.json.encode
        self._chat_open = b'{"model":' + encode(models.chat) + b',"messages":['
        whole = b',"temperature":0' + (b',"ignore_eos":true' if ignore_eos else b"")
        streamed = whole + b',"stream":true,"stream_options":{"include_usage":true}'
        self._chat_close = {False: whole, True: streamed}
        self._terms: dict[tuple[SLO | None, int], bytes] = {}
        self._embedding_open = b'{"model":' + encode(models.embedding) + b',"input":['

    def write(self, request: PlannedRequest) -> bytes:
        """Return head and body."""
        if request.traffic is TrafficClass.CHAT:
            head = self._chat_head
            body = b'%b%b],"max_tokens":%d%b%b}' % (
                self._chat_open,
                self._messages(request),
                request.output_tokens,
                self._chat_close[request.stream],
                _sender(request),
            )
        else:
            head = self._embedding_head
            tokens = request.prompt_tokens
            texts = [
                b'"%b"' % self._marked(tokens, request.start + number * tokens)
                for number in range(request.batch)
            ]
            body = b"%b%b]%b}" % (self._embedding_open, b",".join(texts), _sender(request))
        return b"%b%bcontent-length: %d\r\n\r\n%b" % (
            head,
            self._terms_of(request),
            len(body),
            body,
        )

    def _terms_of(self, request: PlannedRequest) -> bytes:
        """What the request asks of the gateway's service, as headers; few differ in a run."""
        key = (request.slo, request.priority)
        found = self._terms.get(key)
        if found is None:
            found = self._terms[key] = _term_headers(*key)
        return found

    def _messages(self, request: PlannedRequest) -> bytes:
        if not request.messages:
            return b'{"role":"user","content":"%b"}' % self._prompt(request)
        # The first one bears the run's mark: what comes after it differs with it.
        return b",".join(
            b'{"role":"%b","content":"%b"}'
            % (role.encode(), (self._text.take if number else self._marked)(tokens, start))
            for number, (role, tokens, start) in enumerate(request.messages)
        )

    def _prompt(self, request: PlannedRequest) -> bytes:
        if not request.blocks:
            return self._marked(request.prompt_tokens, request.start)
        parts: list[bytes] = []
        left = request.prompt_tokens
        for block in request.blocks:
            if left <= 0:
                break
            taken = self._text.take if parts else self._marked
            parts.append(taken(min(left, BLOCK_TOKENS), block * _SPREAD + self._salt))
            left -= BLOCK_TOKENS
        if left > 0:
            parts.append(self._text.take(left, request.start))
        return b" ".join(parts)

    def _marked(self, tokens: int, start: int) -> bytes:
        """Text that begins with the run's own words, where there is room for them."""
        if not self._mark or tokens <= _MARK_TOKENS:
            return self._text.take(tokens, start)
        return self._mark + self._text.take(tokens - _MARK_TOKENS, start)


def _sender(request: PlannedRequest) -> bytes:
    return b',"user":"%b"' % request.tenant.encode() if request.tenant else b""


def _term_headers(slo: SLO | None, priority: int) -> bytes:
    lines = [f"x-request-priority: {priority}"] if priority else []
    if slo is not None:
        limits = (("ttft", slo.ttft_s), ("tpot", slo.tpot_s), ("deadline", slo.deadline_s))
        lines += [
            f"x-slo-{name}-ms: {limit * 1000:.12g}" for name, limit in limits if limit is not None
        ]
    return "".join(f"{line}\r\n" for line in lines).encode("ascii")
