"""Embedding requests and answers, taken apart and put together without decoding a vector."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

_BYTES_PER_TOKEN = 4
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_ROWS = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_USAGE = msgspec.json.Decoder(dict[str, msgspec.Raw])
_IDS = msgspec.json.Decoder(list[int])
_encode = msgspec.json.encode

Row = dict[str, msgspec.Raw]


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A plain embedding request.

    Attributes:
        fields: the body's other fields, undecoded.
        inputs: each input, undecoded.
        lengths: estimated tokens of each input.
        key: equal for requests whose inputs may stand in one body.
    """

    fields: Mapping[str, msgspec.Raw]
    inputs: Sequence[msgspec.Raw]
    lengths: Sequence[int]
    key: tuple[object, ...]


def read_question(body: bytes) -> Question | None:
    """Take a request's body apart; None when it is not plain and has to go as it is.

    Plain is an object whose ``input`` is a text, a list of texts, a list of token ids, or a list
    of such lists, none of them empty.
    """
    try:
        fields = _FIELDS.decode(body)
        given = fields.pop("input", None)
        if given is None:
            return None
        found = _read_inputs(given)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if found is None:
        return None
    inputs, ids = found
    lengths = [_ids_in(item) if ids else _tokens_in(item) for item in inputs]
    rest = sorted((name, bytes(value)) for name, value in fields.items())
    return Question(fields, inputs, lengths, (ids, *rest))


def _read_inputs(given: msgspec.Raw) -> tuple[list[msgspec.Raw], bool] | None:
    """Return the inputs and whether they are lists of token ids."""
    first = bytes(memoryview(given)[:1])
    if first == b'"':
        return None if len(given) == 2 else ([given], False)
    if first != b"[":
        return None
    items = _ITEMS.decode(given)
    kinds = {bytes(memoryview(item)[:1]) for item in items}
    if kinds == {b'"'}:
        return None if any(len(item) == 2 for item in items) else (items, False)
    if kinds == {b"["}:
        return (items, True) if all(_IDS.decode(item) for item in items) else None
    if items and kinds <= {b"%d" % digit for digit in range(10)}:
        _IDS.decode(given)
        return [given], True
    return None


def _tokens_in(text: msgspec.Raw) -> int:
    return (len(text) - 2) // _BYTES_PER_TOKEN + 1


def _ids_in(ids: msgspec.Raw) -> int:
    return bytes(ids).count(b",") + 1


def write_body(fields: Mapping[str, msgspec.Raw], inputs: Sequence[msgspec.Raw]) -> bytes:
    """Return the body of a call for these inputs."""
    return _encode({**fields, "input": inputs})


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """An engine's answer.

    Attributes:
        fields: what it holds beside usage, undecoded, in the order it came.
        rows: an object for each input, in the inputs' order.
        usage: the whole numbers of ``usage``.
    """

    fields: Mapping[str, msgspec.Raw]
    rows: Sequence[Row]
    usage: Mapping[str, int]


def read_answer(body: bytes, inputs: int) -> Answer | None:
    """Take an answer apart; None when it does not hold one row for each input.

    Args:
        body: as the engine sent it.
        inputs: how many there were in the call.
    """
    try:
        fields = _FIELDS.decode(body)
        rows = _in_order(_ROWS.decode(fields["data"]))
        usage = _whole_numbers(fields.pop("usage")) if "usage" in fields else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, ValueError):
        return None
    if rows is None or len(rows) != inputs:
        return None
    return Answer(fields, rows, usage)


def _in_order(rows: list[Row]) -> list[Row] | None:
    """Return the rows by their index; None when the indexes are not 0 to n - 1."""
    placed: list[Row | None] = [None] * len(rows)
    for row in rows:
        index = int(bytes(row["index"]))
        if not 0 <= index < len(rows) or placed[index] is not None:
            return None
        placed[index] = row
    return rows if placed == rows else [row for row in placed if row is not None]


def _whole_numbers(usage: msgspec.Raw) -> dict[str, int]:
    if bytes(usage) == b"null":
        return {}
    return {
        name: int(number)
        for name, value in _USAGE.decode(usage).items()
        if (number := bytes(value)).isdigit()
    }


def write_answer(
    fields: Mapping[str, msgspec.Raw], rows: Iterable[Row], usage: Mapping[str, int]
) -> bytes:
    """Return an answer with these rows, numbered anew.

    Args:
        fields: of an engine's answer; its data are replaced where they stand.
        rows: in the order of the inputs.
        usage: whole numbers; left out where the engine gave none.
    """
    data = [{**row, "index": index} for index, row in enumerate(rows)]
    whole: dict[str, object] = {**fields, "data": data}
    if usage:
        whole["usage"] = usage
    return _encode(whole)


def split_usage(usage: Mapping[str, int], weights: Sequence[int]) -> list[dict[str, int]]:
    """Divide a call's usage among those who shared it, so that the sums are exact.

    An engine tells only the sum; each share is in proportion to its estimate, rounded by largest
    remainder.

    Args:
        usage: of the call.
        weights: estimated tokens of each share, all above zero.
    """
    shares: list[dict[str, int]] = [{} for _ in weights]
    total = sum(weights)
    for name, number in usage.items():
        parts = [number * weight // total for weight in weights]
        by_remainder = sorted(
            range(len(weights)), key=lambda place: (-(number * weights[place] % total), place)
        )
        for place in by_remainder[: number - sum(parts)]:
            parts[place] += 1
        for share, part in zip(shares, parts, strict=True):
            share[name] = part
    return shares


@dataclass(slots=True, eq=False)
class Assembly:
    """One request's answer while the calls that hold its inputs come back.

    Args:
        size: how many inputs it has.
    """

    size: int
    rows: dict[int, Row] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=dict)
    fields: Mapping[str, msgspec.Raw] | None = None

    def add(
        self,
        fields: Mapping[str, msgspec.Raw],
        positions: Iterable[int],
        rows: Iterable[Row],
        usage: Mapping[str, int],
    ) -> None:
        """Take in the rows for some positions, with their share of a call's usage."""
        if self.fields is None:
            self.fields = fields
        self.rows.update(zip(positions, rows, strict=True))
        for name, number in usage.items():
            self.usage[name] = self.usage.get(name, 0) + number

    @property
    def complete(self) -> bool:
        """Whether every row is there."""
        return len(self.rows) == self.size

    def body(self) -> bytes:
        """Return the whole answer."""
        assert self.fields is not None
        return write_answer(
            self.fields, (self.rows[position] for position in range(self.size)), self.usage
        )
