"""OpenAI's /embeddings on the wire: requests in, answers and errors out."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from sage.errors import BadRequestError, nearest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class EmbeddingRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /v1/embeddings.

    ``user`` is OpenAI's label for the end user; it changes nothing in the answer. ``model`` may be
    left out: this server has one.
    """

    input: str | list[Any]
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingInput:
    """The texts of a request, or their token ids; one of the two is None."""

    texts: list[str] | None = None
    ids: list[list[int]] | None = None

    @property
    def size(self) -> int:
        """Characters or ids in all."""
        return sum(map(len, self.texts if self.texts is not None else self.ids or []))


_decoder = msgspec.json.Decoder(EmbeddingRequest)
_encoder = msgspec.json.Encoder()


def decode_request(body: bytes | bytearray) -> EmbeddingRequest:
    """Decode the body.

    Raises:
        BadRequestError: it is not JSON, or a field is missing, unknown or of the wrong type.
    """
    try:
        return _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise BadRequestError(_explain(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequestError(f"the body is not valid JSON: {error}") from error


def read_input(value: str | list[Any]) -> EmbeddingInput:
    """Sort out the four shapes of ``input``.

    Raises:
        BadRequestError: it is empty, or mixes or holds anything other than text and token ids.
    """
    if isinstance(value, str):
        return EmbeddingInput(texts=[value])
    if not value:
        raise BadRequestError("input is an empty list; it needs at least one text")
    if all(isinstance(one, str) for one in value):
        return EmbeddingInput(texts=value)
    if _all_ids(value):
        return EmbeddingInput(ids=[value])
    if all(isinstance(one, list) and _all_ids(one) for one in value):
        return EmbeddingInput(ids=value)
    raise BadRequestError(
        "input must be a text, a list of texts, a list of token ids, or a list of such lists; "
        "it must not mix them"
    )


def encode_answer(
    model: str,
    vectors: npt.NDArray[np.float32],
    encoding: Literal["float", "base64"],
    *,
    tokens: int,
    truncated: int,
    piece: int = 64,
) -> Iterator[bytes]:
    """Yield the answer's JSON in pieces of some vectors each, so a large one can be interleaved.

    Args:
        model: the served name.
        vectors: float32, (texts, dim), in the order of the request.
        encoding: "float" writes numbers, "base64" the little-endian float32 bytes.
        tokens: tokens embedded, for ``usage``.
        truncated: texts that were cut to the model's maximum, for ``usage``.
        piece: vectors a piece.
    """
    yield b'{"object":"list","data":['
    for start in range(0, len(vectors), piece):
        rows = [
            {"object": "embedding", "index": start + offset, "embedding": embedding}
            for offset, embedding in enumerate(_encoded(vectors[start : start + piece], encoding))
        ]
        yield (b"," if start else b"") + _encoder.encode(rows)[1:-1]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "truncated": truncated}
    yield b'],"model":' + _encoder.encode(model) + b',"usage":' + _encoder.encode(usage) + b"}"


def encode_error(
    message: str, *, kind: str, code: str | None = None, param: str | None = None
) -> bytes:
    """Return an error in OpenAI's shape."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return _encoder.encode({"error": error})


def encode_json(value: object) -> bytes:
    """Return any JSON value."""
    return _encoder.encode(value)


def _encoded(vectors: npt.NDArray[np.float32], encoding: str) -> list[Any]:
    if encoding == "float":
        numbers: list[Any] = vectors.tolist()
        return numbers
    little = vectors.astype("<f4", copy=False)
    return [base64.b64encode(row.tobytes()).decode("ascii") for row in little]


def _all_ids(value: list[Any]) -> bool:
    # JSON's true and false are bool, which is an int in Python.
    return all(type(one) is int for one in value)


def _explain(error: msgspec.ValidationError) -> str:
    message = str(error)
    if "unknown field" in message:
        key = message.split("`")[1]
        known = [field.name for field in msgspec.structs.fields(EmbeddingRequest)]
        close = nearest(key, known)
        hint = f"did you mean {close!r}?" if close else f"known: {', '.join(known)}"
        return f"unknown field {key!r}; {hint}"
    return f"the body is not an embeddings request: {message}"
