"""The socket on which a driver is asked how its job stands, and told to end it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socketserver
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from sage.dataflow.jobs.folder import remove_socket
from sage.dataflow.jobs.wire import Progress

# Room in the system's address of a Unix socket, less than which a path of a job may need.
_LONGEST_PATH = 100
_MOST_BYTES = 16 << 20
_TIMEOUT = 2.0


class ControlServer:
    """Answers one word a connection with the job's progress, in a line of JSON.

    Args:
        path: where to listen; elsewhere when it is too long for a socket.
        commands: what to do at each word; returns what to answer.
    """

    def __init__(self, path: Path, commands: Mapping[str, Callable[[], Progress]]) -> None:
        self._home = path.parent
        self.path = path
        if len(os.fsencode(path)) > _LONGEST_PATH:
            self.path = Path(tempfile.mkdtemp(prefix="sage-")) / path.name
        # Of a driver that was killed.
        self.path.unlink(missing_ok=True)
        self._server = _Server(self.path, commands)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="control", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Answer no more, and leave nothing behind."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        remove_socket(self.path, self._home)


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path, commands: Mapping[str, Callable[[], Progress]]) -> None:
        super().__init__(str(path), _Handler)
        self.commands = commands


class _Handler(socketserver.StreamRequestHandler):
    timeout = 5.0
    server: _Server

    def handle(self) -> None:
        """Answer one word."""
        command = self.server.commands.get(
            self.rfile.readline(64).decode("ascii", "replace").strip()
        )
        if command is not None:
            answer = msgspec.json.encode(command()) + b"\n"
            # Whoever asked may not have waited for it.
            with contextlib.suppress(OSError):
                self.wfile.write(answer)


async def ask_driver(socket: str, word: str) -> Progress | None:
    """Tell a driver a word and return the job's progress; None when it does not answer.

    Args:
        socket: path of its socket.
        word: "progress", "stop" or "cancel".
    """
    try:
        async with asyncio.timeout(_TIMEOUT):
            reader, writer = await asyncio.open_unix_connection(socket, limit=_MOST_BYTES)
            try:
                writer.write(word.encode() + b"\n")
                line = await reader.readline()
            finally:
                writer.close()
        return msgspec.json.decode(line, type=Progress)
    except (OSError, TimeoutError, ValueError, msgspec.DecodeError):
        return None
