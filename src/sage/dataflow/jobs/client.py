"""Asking a job manager over HTTP."""

from __future__ import annotations

import ssl
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx2
import msgspec

from sage.config.ports import LOOPBACK, SagePorts
from sage.dataflow.jobs.token import client_token, token_file
from sage.dataflow.jobs.wire import (
    Failure,
    JobList,
    JobOutcome,
    JobView,
    Progress,
    ResumeOrder,
    Submission,
)
from sage.errors import (
    ConfigError,
    JobManagerError,
    ManagerUnreachableError,
    TokenError,
    UnknownJobError,
    VersionMismatchError,
)

T = TypeVar("T", bound=msgspec.Struct)

_TIMEOUT = 10.0
# A pipeline may carry its data.
_SUBMIT_TIMEOUT = 120.0
_LONGEST_WAIT = 20.0

_KINDS: Mapping[str, type[ConfigError | JobManagerError]] = {
    kind.__name__: kind
    for kind in (ConfigError, JobManagerError, TokenError, UnknownJobError, VersionMismatchError)
}


class ManagerClient:
    """A job manager's client; one thread at a time uses it.

    Args:
        host: name or address.
        port: TCP port.
        token: None takes ``SAGE_JOB_MANAGER_TOKEN``, and then that of this user's own manager.
        tls: False for plain HTTP, True for TLS with a certificate that the system trusts, or the
            path of a file of certificates to trust instead.

    Raises:
        ConfigError: a value is wrong, or the token's file is open to others.
    """

    def __init__(
        self,
        host: str = LOOPBACK,
        port: int = SagePorts.JOB_MANAGER,
        *,
        token: str | None = None,
        tls: bool | str | Path = False,
    ) -> None:
        _check_address(host, port)
        self.url = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
        found = client_token(token)
        headers = {} if found is None else {"authorization": f"Bearer {found}"}
        self._has_token = found is not None
        self._http = httpx2.Client(
            base_url=self.url,
            headers=headers,
            timeout=_TIMEOUT,
            trust_env=False,
            verify=_trusted(tls),
        )
        # A handle has a client for as long as anybody has the handle.
        self._close = weakref.finalize(self, self._http.close)

    def close(self) -> None:
        """Close the connections, as happens by itself when nobody has the client any more."""
        self._close()

    def submit(self, submission: Submission) -> JobView:
        """Submit a job.

        Raises:
            JobManagerError: it was refused, or no manager answers.
        """
        body = msgspec.json.encode(submission)
        return self._ask("POST", "/jobs", JobView, body, timeout=_SUBMIT_TIMEOUT)

    def jobs(self) -> tuple[JobView, ...]:
        """Return all jobs, the newest first."""
        return self._ask("GET", "/jobs", JobList).jobs

    def job(self, id_: str) -> JobView:
        """Return a job and its progress."""
        return self._ask("GET", f"/jobs/{_quoted(id_)}", JobView)

    def metrics(self, id_: str) -> Progress:
        """Return what a job's operators have done."""
        return self._ask("GET", f"/jobs/{_quoted(id_)}/metrics", Progress)

    def outcome(self, id_: str, wait: float = 0.0) -> JobOutcome | None:
        """Return how a job ended; None when it has not after ``wait`` seconds, 20 at most."""
        wait = min(wait, _LONGEST_WAIT)
        answer = self._answer(
            "GET", f"/jobs/{_quoted(id_)}/result?wait={wait:.3f}", timeout=wait + _TIMEOUT
        )
        return None if answer.status_code == 202 else _decoded(answer, JobOutcome)

    def order(self, id_: str, order: Literal["stop", "cancel"]) -> JobView:
        """Tell a job to drain or to stop at once."""
        return self._ask("POST", f"/jobs/{_quoted(id_)}/{order}", JobView)

    def resume(self, id_: str, checkpoint: Literal["latest"] | int) -> JobView:
        """Have a job that has ended go on from a checkpoint."""
        body = msgspec.json.encode(ResumeOrder(checkpoint))
        return self._ask("POST", f"/jobs/{_quoted(id_)}/resume", JobView, body)

    def delete(self, id_: str) -> None:
        """Forget a job that has ended."""
        self._answer("DELETE", f"/jobs/{_quoted(id_)}")

    def log(self, id_: str, lines: int | None = None, *, follow: bool = False) -> Iterator[str]:
        """Yield the lines of a job's log.

        Args:
            id_: of the job.
            lines: so many of the last ones; None for all.
            follow: go on with what is added, until the job ends.
        """
        query: dict[str, Any] = {"follow": "true" if follow else "false"}
        if lines is not None:
            query["lines"] = lines
        timeout = httpx2.Timeout(_TIMEOUT, read=None)
        with (
            self._reached(),
            self._http.stream(
                "GET", f"/jobs/{_quoted(id_)}/log", params=query, timeout=timeout
            ) as answer,
        ):
            if answer.is_error:
                answer.read()
                raise self._refusal(answer)
            yield from answer.iter_lines()

    def healthy(self) -> bool:
        """Say whether a job manager answers."""
        try:
            answer = self._http.get("/health", timeout=2.0)
        except httpx2.HTTPError:
            return False
        return answer.status_code == 200

    def _ask(
        self,
        method: str,
        path: str,
        kind: type[T],
        body: bytes | None = None,
        *,
        timeout: float = _TIMEOUT,
    ) -> T:
        return _decoded(self._answer(method, path, body, timeout=timeout), kind)

    def _answer(
        self, method: str, path: str, body: bytes | None = None, *, timeout: float = _TIMEOUT
    ) -> httpx2.Response:
        headers = {} if body is None else {"content-type": "application/json"}
        with self._reached():
            answer = self._http.request(
                method, path, content=body, headers=headers, timeout=timeout
            )
        if answer.is_error:
            raise self._refusal(answer)
        return answer

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Say in one line what keeps the manager from being asked."""
        try:
            yield
        except httpx2.ConnectError as error:
            raise ManagerUnreachableError(
                f"no job manager answers at {self.url} ({error}); start one there with "
                "`sage jobmanager start`, or give its host and port"
            ) from error
        except httpx2.HTTPError as error:
            raise ManagerUnreachableError(
                f"the job manager at {self.url} gave no whole answer "
                f"({type(error).__name__}: {error}); `sage jobmanager status` looks at it"
            ) from error

    def _refusal(self, answer: httpx2.Response) -> ConfigError | JobManagerError:
        try:
            refusal = msgspec.json.decode(answer.content, type=Failure).error
        except msgspec.DecodeError:
            return JobManagerError(
                f"what answers at {self.url} with status {answer.status_code} is no job manager"
            )
        if refusal.kind == TokenError.__name__:
            return TokenError(self._token_advice())
        return _KINDS.get(refusal.kind, JobManagerError)(refusal.message)

    def _token_advice(self) -> str:
        shown = "another token than its own" if self._has_token else "no token"
        return (
            f"the job manager at {self.url} was shown {shown}; set SAGE_JOB_MANAGER_TOKEN, or give "
            f"token=…, to what {token_file()} holds where it runs"
        )


def _decoded(answer: httpx2.Response, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.DecodeError as error:
        raise JobManagerError(
            f"the job manager at {answer.url.host} answered something unknown ({error}); it may "
            "be of another version"
        ) from error


def _check_address(host: object, port: object) -> None:
    if not isinstance(host, str) or not host or "/" in host:
        raise ConfigError(f"host is {host!r}; give a name or an address, as 127.0.0.1")
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port < 65536:
        raise ConfigError(f"port is {port!r}; give a number from 1 to 65535")


def _trusted(tls: bool | str | Path) -> bool | ssl.SSLContext:
    if isinstance(tls, bool):
        return tls
    try:
        return ssl.create_default_context(cafile=str(tls))
    except OSError as error:
        raise ConfigError(
            f"the certificates in {str(tls)!r} cannot be read: {error.strerror or error}; give a "
            "file in PEM"
        ) from error


def _quoted(id_: str) -> str:
    from urllib.parse import quote

    return quote(id_, safe="")
