"""What librdkafka has to say, without saying it a hundred times a second."""

from __future__ import annotations

import logging
import re

_NUMBER = re.compile(r"\d+")


class ClientLog:
    """Takes the messages of a client; repeated ones go on at the level of debugging.

    A client that cannot reach a broker tries again every few milliseconds and tells of each time.

    Args:
        logger: where they go.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._seen: set[str] = set()

    def log(self, level: int, message: str, *arguments: object) -> None:
        """Take a message, with arguments as `logging` has them."""
        text = message % arguments if arguments else message
        # Times and ports differ from one to the next.
        kind = _NUMBER.sub("", text)
        if kind in self._seen:
            level = logging.DEBUG
        self._seen.add(kind)
        self._logger.log(level, "%s", text)
