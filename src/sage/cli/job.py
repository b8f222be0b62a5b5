"""``sage job``: the jobs of a job manager."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import click

from sage.config.paths import user_paths
from sage.config.ports import LOOPBACK, SagePorts

if TYPE_CHECKING:
    from sage.dataflow.jobs.client import ManagerClient
    from sage.dataflow.jobs.wire import JobView
    from sage.dataflow.result import OperatorReport
    from sage.inference.engines.state import StackState


@click.group(help="Look at the jobs of a job manager, and end them.")
def job() -> None:
    """Root of the subcommands."""


_WHERE: tuple[Callable[[Any], Any], ...] = (
    click.option("--host", help="Of the job manager.  [default: this user's own, or 127.0.0.1]"),
    click.option("--port", type=int, help="Of the job manager.  [default: its own, or 19001]"),
    click.option("--tls", is_flag=True, help="Speak TLS with it."),
    click.option("--tls-ca", type=click.Path(), help="File of certificates to trust, for TLS."),
)


def _asks_manager(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say where the manager is, and its client."""

    @functools.wraps(command)
    def with_client(
        host: str | None, port: int | None, tls: bool, tls_ca: str | None, **others: Any
    ) -> Any:
        client = _connect(host, port, tls_ca or tls)
        try:
            return command(client, **others)
        finally:
            client.close()

    wrapped: Callable[..., Any] = with_client
    for option in reversed(_WHERE):
        wrapped = option(wrapped)
    return wrapped


def _connect(host: str | None, port: int | None, tls: str | bool) -> ManagerClient:
    from sage.dataflow.jobs.client import ManagerClient
    from sage.inference.engines.state import read_state

    state = read_state(user_paths(), "jobmanager")
    if host is None and port is None and not tls and state is not None and state.alive:
        return own_manager(state)
    return ManagerClient(host or LOOPBACK, port or SagePorts.JOB_MANAGER, tls=tls)


def own_manager(state: StackState) -> ManagerClient:
    """Return a client of this user's own manager on this machine."""
    from urllib.parse import urlsplit

    from sage.dataflow.jobs.client import ManagerClient

    words = state.arguments
    certificate = words[words.index("--tls-cert") + 1] if "--tls-cert" in words else False
    return ManagerClient(
        urlsplit(state.gateway_url).hostname or LOOPBACK, state.gateway_port, tls=certificate
    )


@job.command(name="list", help="List all jobs, the newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@_asks_manager
def list_(client: ManagerClient, as_json: bool) -> None:
    """Print a line a job."""
    jobs = client.jobs()
    if as_json:
        _print_json(jobs)
    elif not jobs:
        click.echo("there are no jobs")
    else:
        from sage.cli.job_tables import print_jobs

        print_jobs(jobs, time.time())


@job.command(help="Show a job: how it stands and what its operators have done.")
@click.argument("id_", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@_asks_manager
def show(client: ManagerClient, id_: str, as_json: bool) -> None:
    """Print all that is known of a job."""
    view = client.job(id_)
    if as_json:
        _print_json(view)
        return
    from sage.cli.job_tables import print_job

    print_job(view, time.time())


@job.command(help="Print what a job has written.")
@click.argument("id_", metavar="ID")
@click.option("-n", "--lines", type=click.IntRange(min=0), help="Only so many of the last lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until the job ends.")
@_asks_manager
def logs(client: ManagerClient, id_: str, lines: int | None, follow: bool) -> None:
    """Print or follow a job's log."""
    for line in client.log(id_, lines, follow=follow):
        click.echo(line)


@job.command(help="Have a job drain: its sources end, and what they gave flows through.")
@click.argument("id_", metavar="ID")
@_asks_manager
def stop(client: ManagerClient, id_: str) -> None:
    """Tell a job to drain, and return."""
    _tell(client, id_, "stop", "drains")


@job.command(help="Stop a job at once.")
@click.argument("id_", metavar="ID")
@_asks_manager
def cancel(client: ManagerClient, id_: str) -> None:
    """Tell a job to stop at once, and return."""
    _tell(client, id_, "cancel", "is being cancelled")


def _tell(client: ManagerClient, id_: str, order: Literal["stop", "cancel"], what: str) -> None:
    state = client.order(id_, order).state
    if state.final:
        click.echo(f"job {id_} is {state}")
    else:
        click.echo(f"job {id_} {what}; `sage job watch {id_}` waits for its end")


@job.command(help="Have a job that has ended go on from a checkpoint.")
@click.argument("id_", metavar="ID")
@click.option("--checkpoint", default="latest", show_default=True, help="Its number.")
@_asks_manager
def resume(client: ManagerClient, id_: str, checkpoint: str) -> None:
    """Begin again where a checkpoint was."""
    if checkpoint != "latest" and not checkpoint.isdecimal():
        raise click.BadParameter(f"{checkpoint!r} is neither a number nor 'latest'")
    client.resume(id_, "latest" if checkpoint == "latest" else int(checkpoint))
    click.echo(f"job {id_} goes on; `sage job watch {id_}` waits for its end")


@job.command(help="Forget jobs that have ended, with their logs and results.")
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@_asks_manager
def delete(client: ManagerClient, ids: tuple[str, ...]) -> None:
    """Delete jobs; their checkpoints stay."""
    for id_ in ids:
        client.delete(id_)
        click.echo(f"deleted job {id_}")


@job.command(help="Show a job's progress until it ends; Ctrl-C leaves it running.")
@click.argument("id_", metavar="ID")
@_asks_manager
def watch(client: ManagerClient, id_: str) -> int:
    """Wait for the end; exits 0 when the job has finished or drained."""
    from sage.dataflow.jobs.details import Details
    from sage.dataflow.jobs.handle import job_result
    from sage.dataflow.progress import watch as watch_job
    from sage.dataflow.result import JobStatus, error_text

    watched = _Watched(client, id_)
    watch_job(watched, force=True)
    outcome = watched.outcome()
    # What came with it is the user's, who may not even have its modules here.
    result = job_result(outcome, Details())
    click.echo(result.summary())
    if result.error is not None:
        click.echo(f"error: {error_text(result.error)}", err=True)
    return 0 if result.status in (JobStatus.FINISHED, JobStatus.STOPPED) else 1


class _Watched:
    """A job as `watch` wants to see it."""

    def __init__(self, client: ManagerClient, id_: str) -> None:
        self._client = client
        self._id = id_
        self._reports: tuple[OperatorReport, ...] = ()

    @property
    def metrics(self) -> tuple[OperatorReport, ...]:
        """A report for each operator, as of now; while it has no driver, the last ones."""
        progress = self._client.job(self._id).progress
        if progress is not None and progress.operators:
            self._reports = progress.operators
        return self._reports

    @property
    def elapsed(self) -> float:
        """Seconds since the job was submitted, until it ended."""
        view = self._client.job(self._id)
        return (time.time() if view.ended is None else view.ended) - view.created

    def poll(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds; say whether the job has ended."""
        return self._client.outcome(self._id, timeout) is not None

    def outcome(self) -> JobView:
        """Return the job, which has ended."""
        outcome = self._client.outcome(self._id)
        return self._client.job(self._id) if outcome is None else outcome.job


@job.command(help="Print where a job's time goes, by operator.")
@click.argument("id_", metavar="ID")
@_asks_manager
def profile(client: ManagerClient, id_: str) -> None:
    """Print the table of `JobResult.profile`, as of now."""
    from sage.dataflow.profile import profile_table

    click.echo(profile_table(client.metrics(id_).operators))


def _print_json(value: Any) -> None:
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value)).decode())
