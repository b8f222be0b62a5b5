"""What is done with requests beyond serving them: rate limits, the access log, tracing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sage.inference.gateway.access_log import AccessLog
from sage.inference.gateway.added_headers import AddingLink, adding_send
from sage.inference.gateway.asgi import Headers
from sage.inference.gateway.errors import ApiError
from sage.inference.gateway.exchange import Exchange
from sage.inference.gateway.headers import RequestHead
from sage.inference.gateway.rate_limit import KeyLimiter, RateLimit, RateLimits
from sage.inference.gateway.tracing import Tracing


class Edge:
    """Told of each request once it may be scheduled, and at its end.

    Args:
        clock: seconds, monotonic.
        access_log: written a line a request, if there is one.
        tracing: given a span a request, if there is one.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        access_log: AccessLog | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._clock = clock
        self._rates = RateLimits()
        self._charges: dict[int, tuple[KeyLimiter, int, int]] = {}
        self.access_log = access_log
        self.tracing = tracing

    @property
    def active(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._rates or self._charges or self.access_log or self.tracing)

    @property
    def admits(self) -> bool:
        """Whether it looks into requests before they are scheduled."""
        return bool(self._rates or self.tracing)

    def set_limits(self, limits: Mapping[str, RateLimit]) -> None:
        """Let these limits hold from now on, by tenant."""
        self._rates.set(limits, self._clock())

    def open(self) -> None:
        """Open what needs opening, when the gateway starts.

        Raises:
            ConfigError: the access log cannot be written.
        """
        if self.access_log is not None:
            self.access_log.open()
        if self.tracing is not None:
            self.tracing.open()

    def close(self) -> None:
        """Write what is left and close, when the gateway stops; it may take seconds."""
        if self.access_log is not None:
            self.access_log.close()
        if self.tracing is not None:
            self.tracing.close()

    def admit(self, exchange: Exchange, head: RequestHead, prompt: int, most: int) -> None:
        """Take in a request whose body has come.

        Args:
            exchange: the request's.
            head: its headers, which are given the span's context.
            prompt: an estimate of its prompt's tokens.
            most: tokens its answer may have at most; 0 when it does not say.

        Raises:
            ApiError: 429, its key has used up a limit.
        """
        if self.tracing is not None:
            self.tracing.begin(exchange, head)
        limiter = self._rates.get(exchange.tenant)
        if limiter is not None:
            self._charge(exchange, limiter, prompt, most)

    def _charge(self, exchange: Exchange, limiter: KeyLimiter, prompt: int, most: int) -> None:
        now = self._clock()
        wait, name = limiter.admit(prompt + most, now)
        if wait > 0:
            limit = limiter.limit
            allowed = (
                f"{limit.requests_per_second:g} requests a second"
                if name == "requests"
                else f"{limit.tokens_per_minute:g} tokens a minute"
            )
            raise ApiError(
                429,
                f"rate limit reached: this key may use {allowed}; try again in {wait:.1f} s",
                type="rate_limit_error",
                code="rate_limit_exceeded",
                retry_after=wait,
                headers=_limit_headers(limiter, now),
            )
        self._charges[exchange.id] = (limiter, prompt, most)
        self._show(exchange, limiter)

    def _show(self, exchange: Exchange, limiter: KeyLimiter) -> None:
        """Have where the key stands among the response's headers."""

        def standing() -> Headers:
            return _limit_headers(limiter, self._clock())

        exchange.send = adding_send(exchange.send, standing)
        if exchange.client is not None:
            exchange.client = AddingLink(exchange.client, standing)

    def ended(self, exchange: Exchange) -> None:
        """Take in a request's end."""
        charge = self._charges.pop(exchange.id, None)
        if charge is not None:
            limiter, prompt, most = charge
            limiter.put_right(prompt + most, _used(exchange, prompt, most), self._clock())
        if self.access_log is not None:
            self.access_log.note(exchange, self._clock())
        if self.tracing is not None:
            self.tracing.end(exchange, self._clock())


def _used(exchange: Exchange, prompt: int, most: int) -> int:
    """Return the tokens a request took; the estimates where an engine worked and does not tell."""
    if exchange.has_usage:
        return (exchange.prompt_tokens or prompt) + exchange.completion_tokens
    return prompt + most if exchange.dispatched_at else 0


def _limit_headers(limiter: KeyLimiter, now: float) -> Headers:
    headers: Headers = []
    for item in limiter.standing(now):
        name = item.name.encode()
        headers += [
            (b"x-ratelimit-limit-" + name, b"%d" % item.limit),
            (b"x-ratelimit-remaining-" + name, b"%d" % item.remaining),
            (b"x-ratelimit-reset-" + name, duration(item.reset_s)),
        ]
    return headers


def duration(seconds: float) -> bytes:
    """Write a time as OpenAI's headers do: ``12ms``, ``1.5s``, ``6m0s``."""
    if seconds < 1:
        return b"%dms" % round(seconds * 1000)
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{minutes:.0f}m{rest:g}s".encode() if minutes else f"{rest:g}s".encode()
