"""Telling where this machine is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

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
    monkeypatch.setenv("HF_ENDPOINT", "")  # so that what a test makes the code set is undone
    monkeypatch.delenv("SAGE_NETWORK_REGION", raising=False)
    detect_china_mainland.cache_clear()
    yield
    detect_china_mainland.cache_clear()


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
    """The budget bounds the whole, however long a look-up takes, and silence is no proof."""
    release = threading.Event()

    def hang(address: Address, timeout: float) -> bool:
        return release.wait(30)

    start = time.monotonic()
    assert not probe_region(hang, budget=0.05)
    assert time.monotonic() - start < 5
    release.set()


def test_blocked_sites_that_only_hang_are_blocked() -> None:
    """The usual way of blocking is silence: with a site inside answering, it means China."""
    release = threading.Event()

    def wall(address: Address, timeout: float) -> bool:
        return address[0] == "hf-mirror.com" or release.wait(30)

    assert probe_region(wall, budget=0.2)
    release.set()


@pytest.mark.parametrize("answering", ["www.google.com", "no site at all"])
def test_the_answer_comes_as_soon_as_it_is_certain(answering: str) -> None:
    """A blocked site that answers settles it, and so does silence from all the others."""
    release = threading.Event()

    def slow_elsewhere(address: Address, timeout: float) -> bool:
        if address[0] == answering:
            return True
        if address[0] in {"hf-mirror.com", "www.baidu.com"} and answering == "no site at all":
            return False
        return release.wait(30)

    start = time.monotonic()
    assert not probe_region(slow_elsewhere, budget=20)
    assert time.monotonic() - start < 10
    release.set()


def test_a_hanging_look_up_does_not_hold_the_end_of_the_process() -> None:
    """A program that asked once ends when it is done, not when its name server gives up."""
    script = (
        "import time\n"
        "from sage.config.network import probe_region\n"
        "probe_region(lambda address, timeout: time.sleep(60) or False, budget=0.05)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=20)


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
    monkeypatch.setattr(network, "may_be_in_china", lambda: False)
    assert not detect_china_mainland()
    assert "'mars' is not china or global" in caplog.text


def _in_zone(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()


@pytest.fixture
def _zone_restored() -> Iterator[None]:
    yield
    os.environ.pop("TZ", None)
    time.tzset()


@pytest.mark.usefixtures("_zone_restored")
@pytest.mark.parametrize("zone", ["CET-1CEST", "CST6CDT", "JST-9", "GMT0BST"])
def test_a_zone_outside_china_needs_no_traffic(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    """Most people's machines are answered without a packet."""
    _in_zone(monkeypatch, zone)
    monkeypatch.setattr(network, "probe_region", lambda: pytest.fail("probed"))
    assert not detect_china_mainland()


@pytest.mark.usefixtures("_zone_restored")
@pytest.mark.parametrize("zone", ["CST-8", "<+08>-8", "<+06>-6", "UTC0"])
def test_a_zone_that_leaves_it_open_asks_the_network(
    monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    """Containers in China run on UTC as often as not; asked once, the answer is kept."""
    _in_zone(monkeypatch, zone)
    asked: list[bool] = []
    monkeypatch.setattr(network, "probe_region", lambda: asked.append(True) or True)
    assert detect_china_mainland()
    assert detect_china_mainland()
    assert asked == [True]


def test_in_a_folder_that_was_deleted_it_still_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Detection never raises, not even when there is no current folder."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr(network, "may_be_in_china", lambda: False)
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
    assert not os.environ["HF_ENDPOINT"]


def test_the_users_endpoint_is_never_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even in China."""
    monkeypatch.setenv("SAGE_NETWORK_REGION", "china")
    monkeypatch.setenv("HF_ENDPOINT", "http://my-mirror:9000")
    assert ensure_hf_mirror_configured() == "http://my-mirror:9000"
    assert os.environ["HF_ENDPOINT"] == "http://my-mirror:9000"


def test_an_endpoint_in_the_file_reaches_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """`.env` is the user's word too, and the hub's libraries read only the environment."""
    monkeypatch.setenv("SAGE_NETWORK_REGION", "china")
    Path(".env").write_text("HF_ENDPOINT=http://from-file:9000\n", encoding="utf-8")
    assert ensure_hf_mirror_configured() == "http://from-file:9000"
    assert os.environ["HF_ENDPOINT"] == "http://from-file:9000"


def test_setting_the_mirror_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A choice made for the user is logged with its reason, and not again."""
    monkeypatch.setenv("SAGE_NETWORK_REGION", "china")
    with caplog.at_level("INFO"):
        ensure_hf_mirror_configured()
        ensure_hf_mirror_configured()
    assert [record.getMessage() for record in caplog.records] == [
        f"HF_ENDPOINT set to {HF_MIRROR_CHINA}: this machine is in mainland China"
    ]
