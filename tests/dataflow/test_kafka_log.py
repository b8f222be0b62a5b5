"""A client that tries a hundred times says so once."""

from __future__ import annotations

import logging

import pytest

from sage.dataflow.kafka.log import ClientLog


def test_repeated_messages(caplog: pytest.LogCaptureFixture) -> None:
    """The first of a kind keeps its level; the others, with other numbers, are for debugging."""
    caplog.set_level(logging.DEBUG, "kafka")
    log = ClientLog(logging.getLogger("kafka"))
    log.log(logging.ERROR, "FAIL %s after %d ms", "refused", 1)
    log.log(logging.ERROR, "FAIL %s after %d ms", "refused", 20)
    log.log(logging.WARNING, "100% other")
    assert [(each.levelno, each.getMessage()) for each in caplog.records] == [
        (logging.ERROR, "FAIL refused after 1 ms"),
        (logging.DEBUG, "FAIL refused after 20 ms"),
        (logging.WARNING, "100% other"),
    ]
