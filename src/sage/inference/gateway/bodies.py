"""Request bodies: read within limits, and decoded only as far as routing needs."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from sage.errors import InferenceError
from sage.inference.gateway.asgi import Receive
from sage.inference.gateway.errors import ApiError

_BYTES_PER_TOKEN = 4
_MOST_TOKENS = 10_000_000
_BLOCK = 512
_MOST_BLOCKS = 128
_OBJECT_ENDS = re.compile(rb"\s*\}")


class ClientGoneError(InferenceError):
    """The client closed its connection before its request was complete."""


class RoutingFields(msgspec.Struct, gc=False):
    """The fields of a request that decide where it goes; all others are left undecoded."""

    model: str | None = None
    stream: bool | None = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None

    @property
    def most_tokens(self) -> int:
        """How many tokens the answer may have at most; 0 when that is not said, or oddly."""
        limit = self.max_tokens or self.max_completion_tokens or self.max_output_tokens
        return limit if type(limit) is int and 0 < limit < _MOST_TOKENS else 0


_decoder = msgspec.json.Decoder(RoutingFields)


class _PriorityField(msgspec.Struct):
    priority: Any = msgspec.UNSET


_priority_decoder = msgspec.json.Decoder(_PriorityField)


def decode_fields(body: bytes) -> RoutingFields:
    """Return a JSON body's routing fields, or raise ApiError 400 saying what is wrong where."""
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        param = (
            "stream" if "$.stream" in str(error) else "model" if "$.model" in str(error) else None
        )
        raise ApiError(
            400, f"the request body is not valid: {error}", param=param, code="invalid_body"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError(400, f"the request body is not JSON: {error}", code="invalid_json") from None


def estimate_prompt_tokens(body: bytes) -> int:
    """Return a rough count of the prompt's tokens from the size of its JSON, at least 1."""
    return len(body) // _BYTES_PER_TOKEN + 1


def with_priority(body: bytes, priority: int) -> bytes:
    """Return a JSON body that tells an engine how urgent it is.

    Engines (vLLM) serve the lowest number first and take 0 for normal, so it is the negative. A
    normal request, and one that names a priority itself, is left as it is; of any other all that
    was there stays byte for byte.

    Args:
        body: a JSON object.
        priority: greater is more urgent; 0 is normal.
    """
    if priority == 0 or _priority_decoder.decode(body).priority is not msgspec.UNSET:
        return body
    brace = body.index(b"{") + 1
    comma = b"" if _OBJECT_ENDS.match(body, brace) else b","
    return b'%b"priority":%d%b%b' % (body[:brace], -priority, comma, body[brace:])


def prefix_hashes(body: bytes) -> tuple[int, ...]:
    """Return a hash for each whole 512-byte beginning of a request, up to 64 KiB.

    Requests of one conversation begin alike, whatever comes after; so equal hashes mean that an
    engine which served the one has likely cached the beginning of the other.
    """
    if len(body) < 2 * _BLOCK:
        return ()
    hashes = []
    so_far = 0
    for start in range(0, min(len(body) - _BLOCK + 1, _BLOCK * _MOST_BLOCKS), _BLOCK):
        so_far = hash((so_far, body[start : start + _BLOCK]))
        hashes.append(so_far)
    return tuple(hashes)


def prefix_tokens(hashes: tuple[int, ...]) -> int:
    """Return a rough count of the prompt's tokens that these beginnings cover."""
    return len(hashes) * _BLOCK // _BYTES_PER_TOKEN


async def read_body(receive: Receive, limit: int) -> bytes:
    """Read the whole request body.

    Args:
        receive: ASGI's.
        limit: most bytes to take.

    Raises:
        ApiError: 413, the body is larger.
        ClientGoneError: the client left before the end.
    """
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise too_large(limit)
        return body
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGoneError("the client left before its request was complete")
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if size > limit:
            raise too_large(limit)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()


def too_large(limit: int) -> ApiError:
    """Return the answer to a body above the limit."""
    return ApiError(
        413,
        f"the request body is larger than {limit} bytes, the limit here",
        code="request_too_large",
    )
