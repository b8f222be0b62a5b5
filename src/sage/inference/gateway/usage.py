"""Token counts, found in answers without decoding them."""

from __future__ import annotations

import re

_NAME = b'"usage"'
_COUNTS = re.compile(
    rb'"(prompt|input|completion|output|cache_read_input|cache_creation_input)_tokens"'
    rb"\s*:\s*(\d{1,9})"
)
_REACH = 512
_EDGE = 4096


def find_usage(answer: bytes) -> tuple[int, int] | None:
    """Return the prompt's and the completion's tokens as an answer states them last, if it does.

    A JSON text cannot hold ``"usage"`` inside a string unescaped, so what is found is the key.
    Of a large answer only the first and last 4 KiB are searched: embeddings are long, and their
    usage stands after or before the vectors.

    Args:
        answer: a JSON body, or the last events of a stream.
    """
    if len(answer) <= 4 * _EDGE:
        at = answer.rfind(_NAME)
    else:
        at = answer.rfind(_NAME, len(answer) - _EDGE)
        if at < 0:
            at = answer.find(_NAME, 0, _EDGE)
    if at < 0:
        return None
    prompt = completion = -1
    # Anthropic's input_tokens are those that were neither read from a cache nor put into it.
    cached = 0
    for name, digits in _COUNTS.findall(answer, at, at + _REACH):
        if name.startswith(b"cache_"):
            cached += int(digits)
        elif name[0] in b"pi":
            prompt = int(digits) if prompt < 0 else prompt
        else:
            completion = int(digits) if completion < 0 else completion
    if prompt < 0 and completion < 0:
        return None
    return max(prompt, 0) + cached, max(completion, 0)
