"""A pipeline that a job manager runs, on a Ray cluster or where the manager is."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from sage.config.ports import LOOPBACK, SagePorts
from sage.dataflow.config import EnvironmentConfig
from sage.dataflow.interrupts import terminations_handled
from sage.dataflow.launch import Resume, check_sources
from sage.dataflow.pipeline import Pipeline
from sage.dataflow.plan import make_plan
from sage.errors import ConfigError, JobManagerError, UnknownKeyError, shorten

if TYPE_CHECKING:
    from sage.dataflow.jobs.client import ManagerClient
    from sage.dataflow.jobs.handle import RemoteJob
    from sage.dataflow.jobs.spec import PipelineSpec
    from sage.dataflow.jobs.wire import Submission
    from sage.dataflow.result import JobResult
    from sage.dataflow.runtime.ray.config import RayJobConfig

_SLICE = 10.0


class RemoteEnvironment(Pipeline):
    """Builds a pipeline and has a job manager run it; the job outlives this process.

    Args:
        name: for logs, the summary and the job's id.
        host: of the job manager.
        port: of the job manager.
        config: keys of `EnvironmentConfig`, but ``workers``; and "ray", a dict with the keys of
            `RayJobConfig`, for a job that runs on a Ray cluster. Without it, the job runs in
            threads on the job manager's machine.
        token: of the job manager. None takes ``SAGE_JOB_MANAGER_TOKEN``, and then the one of this
            user's own manager on this machine.
        tls: False for plain HTTP, True for TLS with a certificate that the system trusts, or the
            path of a file of certificates to trust instead.

    Attributes:
        last_job: handle of the job that was submitted last, also after an error; None before.

    Raises:
        UnknownKeyError: a key of ``config`` does not exist.
        ConfigError: a value is wrong.
    """

    def __init__(
        self,
        name: str = "pipeline",
        host: str = LOOPBACK,
        port: int = SagePorts.JOB_MANAGER,
        config: Mapping[str, Any] | None = None,
        *,
        token: str | None = None,
        tls: bool | str | Path = False,
    ) -> None:
        given = dict(config or {})
        _check_keys(given)
        self._given = given
        self._ray = _ray_config(given.get("ray"))
        super().__init__(name, {key: value for key, value in given.items() if key != "ray"})
        self._on_ray = self._ray is not None
        self._host = host
        self._port = port
        self._token = token
        self._tls = tls
        self.last_job: RemoteJob | None = None

    @overload
    def submit(
        self,
        autostop: Literal[False] = False,
        *,
        progress: bool | None = None,
        profile: bool = False,
        resume: Resume = None,
    ) -> RemoteJob: ...

    @overload
    def submit(
        self,
        autostop: Literal[True],
        *,
        progress: bool | None = None,
        profile: bool = False,
        resume: Resume = None,
    ) -> JobResult: ...

    @overload
    def submit(
        self,
        autostop: bool,
        *,
        progress: bool | None = None,
        profile: bool = False,
        resume: Resume = None,
    ) -> RemoteJob | JobResult: ...

    def submit(
        self,
        autostop: bool = False,
        *,
        progress: bool | None = None,
        profile: bool = False,
        resume: Resume = None,
    ) -> RemoteJob | JobResult:
        """Send the pipeline to the job manager, which runs it.

        Args:
            autostop: wait until the job has ended and return its result. Otherwise return a handle
                at once.
            progress: with ``autostop``, show progress: True does, on a terminal or as lines;
                False does not; None does on a terminal.
            profile: measure the time of every operator over every batch.
            resume: go on from a checkpoint that a job of the same pipeline has left in the folder
                of ``config={"checkpoint": {"dir": …}}``: "latest", or a number. None begins anew.

        The operators' code travels with the pipeline: that of the script and of the modules in its
        folder whole, that of installed packages as their names. A list given to ``sink`` has its
        records when the handle has seen the end of the job.

        With ``autostop``, Ctrl-C cancels the job, and SIGTERM in the main thread has it drain.

        Raises:
            GraphError: the pipeline cannot run, or something in it cannot be sent.
            ConfigError: cloudpickle is not installed, or a value is wrong.
            JobManagerError: no manager answers, or it refuses the job.
            OperatorError: with ``autostop``, an operator raised; ``error.result`` has the counts.
            JobCancelledError: with ``autostop``, the job was cancelled; likewise.
            KeyboardInterrupt: with ``autostop``, Ctrl-C; the job was cancelled.
        """
        self._check(resume)
        client = self._client()
        view = client.submit(self._submission(profile, resume))
        self.last_job = self._handle(client, view.id)
        return _run(self.last_job, progress) if autostop else self.last_job

    def job(self, id_: str) -> RemoteJob:
        """Return the handle of a job that was submitted before, by whatever program.

        Args:
            id_: the job's. A list given to ``sink`` here has the job's records when the handle has
                seen its end, if the job has a sink of that name.

        Raises:
            UnknownJobError: there is none of that id.
            JobManagerError: no manager answers.
        """
        client = self._client()
        return self._handle(client, client.job(id_).id)

    def _client(self) -> ManagerClient:
        from sage.dataflow.jobs.client import ManagerClient

        return ManagerClient(self._host, self._port, token=self._token, tls=self._tls)

    def _handle(self, client: ManagerClient, id_: str) -> RemoteJob:
        from sage.dataflow.jobs.gathering import lists_of
        from sage.dataflow.jobs.handle import RemoteJob

        return RemoteJob(client, id_, lists_of(self._graph))

    def _check(self, resume: Resume) -> None:
        make_plan(self._graph)
        check_sources(self._graph, self.config)
        if resume is not None and self.config.checkpoint is None:
            raise ConfigError(
                f"submit(resume={resume!r}) needs a folder of checkpoints; give the environment "
                'config={"checkpoint": {"dir": …}}'
            )

    def _submission(self, profile: bool, resume: Resume) -> Submission:
        from sage.dataflow.jobs.packing import pack
        from sage.dataflow.jobs.recovery import read_recovery
        from sage.dataflow.jobs.versions import versions_here
        from sage.dataflow.jobs.wire import Submission

        return Submission(
            name=self.name,
            pipeline=pack(self._spec()),
            versions=versions_here(),
            config=_plain(self._given),
            recovery=read_recovery(self.config, self._given),
            folder=str(Path.cwd()),
            resume=resume,
            profile=profile,
        )

    def _spec(self) -> PipelineSpec:
        from sage.dataflow.jobs.gathering import with_gathering
        from sage.dataflow.jobs.recovery import whole_path
        from sage.dataflow.jobs.spec import PipelineSpec

        config = self.config
        if config.checkpoint is not None:
            folder = whole_path(config.checkpoint.dir)
            config = replace(config, checkpoint=replace(config.checkpoint, dir=folder))
        return PipelineSpec(
            self.name,
            with_gathering(self._graph),
            config,
            self._ray,
            tuple(self._registrations),
            self._dead_letter_sink,
        )


def _run(job: RemoteJob, progress: bool | None) -> JobResult:
    """Wait for the end; on Ctrl-C, or any error here, leave nothing running."""
    from sage.dataflow.jobs.attending import Attended

    attended = Attended(job)
    with terminations_handled(attended.signalled):
        try:
            if progress or (progress is None and sys.stderr.isatty()):
                from sage.dataflow.progress import watch

                watch(attended, force=progress is True)
            while not attended.poll(_SLICE):
                pass
        except BaseException:
            with contextlib.suppress(JobManagerError):
                job.cancel()
            raise
    return job.wait()


def _ray_config(given: object) -> RayJobConfig | None:
    if given is None:
        return None
    if not isinstance(given, Mapping):
        raise ConfigError(
            f'config["ray"] is {shorten(given)}; give a dict, as {{"address": "auto"}}'
        )
    from sage.dataflow.runtime.ray.config import RayJobConfig

    return RayJobConfig.from_mapping(given)


def _check_keys(config: Mapping[str, Any]) -> None:
    if "workers" in config:
        raise ConfigError(
            f"RemoteEnvironment config has workers={config['workers']!r}; leave it out: stages run "
            "in threads where they are placed"
        )
    known = [field.name for field in dataclasses.fields(EnvironmentConfig)] + ["ray"]
    known.remove("workers")
    for key in config:
        if key not in known:
            raise UnknownKeyError(key, known, where="RemoteEnvironment config")


def _plain(value: Any, key: str = "") -> Any:
    """Return a configuration for people to read, in the types of JSON, without its secrets."""
    if isinstance(value, Mapping):
        if key == "env_vars":  # where credentials are
            return dict.fromkeys(map(str, value), "…")
        return {str(name): _plain(part, str(name)) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else shorten(value)
