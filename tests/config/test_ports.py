"""Default ports."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sage.common.config import ports as tutorial_path
from sage.config import ports
from sage.config.ports import SagePorts, can_bind, is_wsl
from sage.errors import ConfigError


def _constants() -> dict[str, int]:
    return {name: value for name, value in vars(SagePorts).items() if name.isupper()}


def test_no_two_constants_share_a_port() -> None:
    """Two parts on one machine never meet by default."""
    values = list(_constants().values())
    assert len(set(values)) == len(values)


def test_the_tutorials_numbers() -> None:
    """The numbers users have in their notes."""
    assert _constants() == {
        "GATEWAY_DEFAULT": 8000,
        "LLM_DEFAULT": 8001,
        "LLM_SECONDARY": 8002,
        "LLM_WSL_FALLBACK": 8901,
        "LLM_WSL_SECONDARY": 8902,
        "EMBEDDING_DEFAULT": 8090,
        "EMBEDDING_SECONDARY": 8091,
        "BENCHMARK_LLM": 8903,
        "BENCHMARK_EMBEDDING": 8904,
        "BENCHMARK_API": 8905,
        "JOB_MANAGER": 19001,
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Linux version 5.15.90.1-microsoft-standard-WSL2", True),
        ("Linux version 6.1.0-18-amd64 (debian-kernel@lists.debian.org)", False),
    ],
)
def test_wsl_is_told_by_the_kernels_version(tmp_path: Path, line: str, expected: bool) -> None:
    """WSL kernels name Microsoft, others do not."""
    (tmp_path / "version").write_text(line, encoding="utf-8")
    assert is_wsl(tmp_path / "version") is expected


def test_a_machine_without_proc_is_not_wsl(tmp_path: Path) -> None:
    """A missing file is an answer, not an error."""
    assert is_wsl(tmp_path / "missing") is False


def test_can_bind_tells_a_held_port_and_leaves_it_free() -> None:
    """The probe holds nothing afterwards."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        assert not can_bind(port)
    assert can_bind(port)
    assert can_bind(port)


@pytest.mark.parametrize(
    ("port", "host"), [(-1, "127.0.0.1"), (65536, "127.0.0.1"), (0, "192.0.2.77"), (0, "fe80::zz")]
)
def test_what_cannot_be_bound_is_an_answer_not_an_error(port: int, host: str) -> None:
    """Impossible ports, foreign addresses and machines without IPv6 say no."""
    assert not can_bind(port, host)


def test_outside_wsl_the_port_is_8001(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy port is then an error at start, not a silent move to another."""
    monkeypatch.setattr(ports, "is_wsl", lambda: False)
    monkeypatch.setattr(ports, "can_bind", lambda port: False)
    assert SagePorts.get_recommended_llm_port() == 8001


@pytest.mark.parametrize(
    ("busy", "expected"), [(set(), 8001), ({8001}, 8901), ({8001, 8901}, 8902)]
)
def test_on_wsl_the_first_that_can_be_bound(
    monkeypatch: pytest.MonkeyPatch, busy: set[int], expected: int
) -> None:
    """8001, then 8901, then 8902."""
    monkeypatch.setattr(ports, "is_wsl", lambda: True)
    monkeypatch.setattr(ports, "can_bind", lambda port: port not in busy)
    assert SagePorts.get_recommended_llm_port() == expected


def test_on_wsl_with_none_free_the_error_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the three ports and what to do."""
    monkeypatch.setattr(ports, "is_wsl", lambda: True)
    monkeypatch.setattr(ports, "can_bind", lambda port: False)
    with pytest.raises(ConfigError, match="8001, 8901, 8902"):
        SagePorts.get_recommended_llm_port()


def test_the_tutorials_path_leads_to_the_same_names() -> None:
    """One class, whichever way it is imported."""
    assert tutorial_path.SagePorts is SagePorts
    assert tutorial_path.is_wsl is is_wsl
