"""Telling where this machine is."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from sage.common.config import network as tutorial_path
from sage.config import network
from sage.config.network import (
    HF_MIRROR_CHINA,
    Address,
    detect_china_mainland,
    ensure_hf_mirror_configured,
    get_hf_endpoint,
    get_network_region,
    probe_region,
)


@pytest.fixture(autouse=True)
def _ask_afresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    detect_china_mainland.cache_clear()
    yield
    detect_china_mainland.cache_clear()
    os.environ.pop("HF_ENDPOINT", None)


def _answering(*hosts: str) -> network.Probe:
    return lambda address, timeout: address[0] in hosts


def test_inside_china_its_sites_answer_and_the_blocked_do_not() -> None:
    """Both halves are needed."""
    assert probe_region(_answering("www.baidu.com"))
    assert not probe_region(_answering("www.baidu.com", "www.google.com"))


def test_a_machine_without_any_network_is_not_in_china() -> None:
    """Silence proves nothing."""
    assert not probe_region(_answering())


def test_hanging_probes_cannot_hold_the_answer() -> None:
    """The budget bounds the whole, however long a look-up takes."""
    release = threading.Event()

    def hang(address: Address, timeout: float) -> bool:
        return release.wait(30)

    start = time.monotonic()
    assert not probe_region(hang, budget=0.05)
    assert time.monotonic() - start < 5
    release.set()


def test_a_probe_that_raises_counts_as_unreachable() -> None:
    """Detection never raises."""

    def broken(address: Address, timeout: float) -> bool:
        raise OSError("no route")

    assert not probe_region(broken)


def test_the_users_word_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """SAGE_NETWORK_REGION needs no traffic."""
    monkeypatch.setenv("SAGE_NETWORK_REGION", "china")
    assert detect_china_mainland()
    assert get_network_region() == "china"
    assert get_hf_endpoint() == HF_MIRROR_CHINA


def test_a_wrong_region_is_said_and_does_not_raise(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Detection is asked by code that cannot handle a configuration error."""
    monkeypatch.setenv("SAGE_NETWORK_REGION", "mars")
    monkeypatch.setattr(network, "local_zone", lambda: "Europe/Berlin")
    assert not detect_china_mainland()
    assert "'mars' is not china or global" in caplog.text


def test_a_zone_outside_china_needs_no_traffic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most machines are answered without a packet."""
    monkeypatch.setattr(network, "local_zone", lambda: "Europe/Berlin")
    monkeypatch.setattr(network, "probe_region", lambda: pytest.fail("probed"))
    assert not detect_china_mainland()


def test_in_china_the_mirror_is_set_for_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's own libraries read HF_ENDPOINT."""
    monkeypatch.setenv("SAGE_NETWORK_REGION", "china")
    assert ensure_hf_mirror_configured() == HF_MIRROR_CHINA
    assert os.environ["HF_ENDPOINT"] == HF_MIRROR_CHINA


def test_outside_china_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The default hub needs no variable."""
    monkeypatch.setenv("SAGE_NETWORK_REGION", "global")
    assert tutorial_path.ensure_hf_mirror_configured() == "https://huggingface.co"
    assert "HF_ENDPOINT" not in os.environ


def test_the_users_endpoint_is_never_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even in China."""
    monkeypatch.setenv("SAGE_NETWORK_REGION", "china")
    monkeypatch.setenv("HF_ENDPOINT", "http://my-mirror:9000")
    assert ensure_hf_mirror_configured() == "http://my-mirror:9000"
    assert os.environ["HF_ENDPOINT"] == "http://my-mirror:9000"
