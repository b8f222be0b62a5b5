"""Saying who holds a port."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sage.config.port_holders import check_host, check_port
from sage.errors import ConfigError, PortInUseError

LISTEN = """
import socket, time
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
time.sleep(600)
"""


@contextmanager
def _listener(*words: str) -> Iterator[tuple[int, int]]:
    """A process that listens, with more words on its command line; yields pid and port."""
    process = subprocess.Popen(
        [sys.executable, "-c", LISTEN, *words], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout:
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()
            process.wait()


def test_another_program_is_named_with_its_command() -> None:
    """Name and pid alone would say `python`."""
    with _listener("my-own-service") as (pid, port):
        expected = rf"port {port} for the LLM is held by \S+ \(pid {pid}\), running .*--port"
        with pytest.raises(PortInUseError, match=expected):
            check_port(port, "127.0.0.1", "the LLM", "--port")


@pytest.mark.parametrize("words", [("llm", "serve"), ("-m", "sage.inference.engines.llama_cpp")])
def test_ours_is_known_as_ours(words: tuple[str, ...]) -> None:
    """With the command that ends it."""
    with _listener(*words) as (pid, port):
        expected = rf"\(pid {pid}\), started by `sage llm serve` \(`sage llm stop` ends it\)"
        with pytest.raises(PortInUseError, match=expected):
            check_port(port, "127.0.0.1", "the LLM", "--port")


def test_a_free_port_is_fine(free_port: int) -> None:
    """Also one whose last connection has just ended."""
    with socket.create_server(("127.0.0.1", free_port)) as server:
        client = socket.create_connection(server.getsockname())
        served, _ = server.accept()
        served.close()
        client.close()
    check_port(free_port, "127.0.0.1", "the LLM", "--port")


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1", "a b"])
def test_an_address_of_another_machine_is_not_called_busy(host: str) -> None:
    """It says what is wrong instead."""
    with pytest.raises(ConfigError, match="cannot listen on port 8001 for the LLM"):
        check_port(8001, host, "the LLM", "--port")
    with pytest.raises(ConfigError, match=r"cannot listen on host .* such as 127\.0\.0\.1"):
        check_host(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "::1"])
def test_addresses_of_this_machine_are_fine(host: str) -> None:
    """IPv6 too."""
    check_host(host)
