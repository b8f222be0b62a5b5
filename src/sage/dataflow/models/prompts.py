"""From a record to the messages that a model is asked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from string import Formatter
from typing import Any, TypeAlias

from sage.errors import ConfigError, shorten

Messages: TypeAlias = str | Sequence[Mapping[str, Any]]
Prompt: TypeAlias = str | Callable[[Any], Messages] | None

RECORD = "record"


def prompt_reader(prompt: Prompt) -> Callable[[Any], Messages]:
    """Return the function that makes a record's messages.

    Raises:
        ConfigError: the template cannot be read, or the prompt is neither text nor callable.
    """
    if prompt is None:
        return _checked
    if isinstance(prompt, str):
        return Template(prompt)
    if not callable(prompt) or inspect.iscoroutinefunction(prompt):
        raise ConfigError(
            f"prompt is {shorten(prompt)}; give a template, a plain function of a record, or None"
        )
    return Function(prompt)


class Template:
    """Fills a ``str.format`` template with a dict's fields, or with ``{record}``.

    Args:
        text: the template; ``{{`` stands for a brace.

    Raises:
        ConfigError: its braces do not fit, or a field has no name.
    """

    def __init__(self, text: str) -> None:
        try:
            fields = [field for _, field, _, _ in Formatter().parse(text) if field is not None]
        except ValueError as error:
            raise ConfigError(
                f"prompt: {error} in {shorten(text)}; write {{{{ and }}}} for braces"
            ) from error
        for field in fields:
            if not field or field[0].isdigit():
                raise ConfigError(
                    f"prompt: a field in {shorten(text)} has no name; write a record's field, "
                    "such as {question}, or {record}"
                )
        self._text = text

    def __call__(self, record: Any) -> str:
        """Return the text for a record.

        Raises:
            ConfigError: the record has no such field; names those it has.
        """
        fields = {RECORD: record, **record} if isinstance(record, dict) else {RECORD: record}
        try:
            return self._text.format_map(fields)
        except KeyError as error:
            raise ConfigError(f"prompt: {_missing(error.args[0], record)}") from error
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise ConfigError(
                f"prompt: {shorten(self._text)} does not fit {shorten(record)}: {error}"
            ) from error


class Function:
    """Makes the messages with a user's function.

    Args:
        function: of a record.
    """

    def __init__(self, function: Callable[[Any], Messages]) -> None:
        self._function = function

    def __call__(self, record: Any) -> Messages:
        """Return the messages for a record."""
        return _checked(self._function(record))


def field_of(record: Any, name: str, where: str) -> Any:
    """Return a field of a dict.

    Raises:
        ConfigError: the record is no dict, or has no such field; names those it has.
    """
    if not isinstance(record, dict) or name not in record:
        raise ConfigError(f"{where}: {_missing(name, record)}")
    return record[name]


def _missing(name: str, record: Any) -> str:
    if not isinstance(record, dict):
        return (
            f"there is no field {name!r}: the record is a {type(record).__name__}, not a dict; "
            "write {record}, or give a function"
        )
    names = ", ".join(map(str, record)) or "none"
    return f"the record has no field {name!r}; its fields: {names}"


def _checked(messages: Any) -> Messages:
    if isinstance(messages, str) or (isinstance(messages, list) and _are_messages(messages)):
        return messages
    raise ConfigError(
        f"prompt: {shorten(messages)} is neither a text nor a list of messages such as "
        "{'role': 'user', 'content': …}; give prompt= a template or a function that makes one"
    )


def _are_messages(listed: list[Any]) -> bool:
    return bool(listed) and all(isinstance(each, Mapping) and "role" in each for each in listed)
