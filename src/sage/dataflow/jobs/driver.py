"""The process that drives one job: ``python -m sage.dataflow.jobs.driver FOLDER``.

It needs nothing of the manager that started it, and outlives it: what it is to do lies in the
folder, what has become of the job it leaves there.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
import threading
from pathlib import Path

from sage.config.processes import created
from sage.dataflow.jobs.control import ControlServer
from sage.dataflow.jobs.details import Details
from sage.dataflow.jobs.driven_job import DrivenJob, where_from
from sage.dataflow.jobs.folder import DriverOrder, DriverState, JobFolder
from sage.dataflow.jobs.spec import PipelineSpec
from sage.dataflow.jobs.wire import Progress
from sage.dataflow.result import error_text
from sage.errors import DataflowError, JobCancelledError

# Seconds for the user's threads and exit handlers once the result is written.
_PATIENCE = 5.0

logger = logging.getLogger("sage.dataflow.jobs")


def main() -> int:
    """Drive the job of the folder that the command line names."""
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr
    )
    folder = JobFolder(Path(sys.argv[1]))
    _drive(folder, folder.order())
    timer = threading.Timer(_PATIENCE, os._exit, (0,))
    timer.daemon = True
    timer.start()
    return 0


def _drive(folder: JobFolder, order: DriverOrder) -> None:
    job = DrivenJob(order, folder)
    commands = {"progress": job.progress, "stop": job.stop, "cancel": job.cancel}
    folder.clear_socket()
    server = ControlServer(folder.socket, commands)
    try:
        pid = os.getpid()
        folder.write_driver(DriverState(pid, created(pid) or 0.0, order.attempt, str(server.path)))
        logger.info("job %r: driver %d begins, pid %d", order.name, order.attempt, pid)
        progress, details = _run(job, folder, order)
        folder.write_result(progress, _packed(details))
    finally:
        server.close()


def _run(job: DrivenJob, folder: JobFolder, order: DriverOrder) -> tuple[Progress, Details]:
    try:
        spec = _load(folder)
        progress, details = job.run(spec, where_from(spec, order, folder))
    except JobCancelledError as cancelled:
        logger.info("%s", cancelled)
        return Progress("cancelled", order.attempt), Details()
    except Exception as error:  # noqa: BLE001 - it is the job's result, whatever it is
        logger.error("job %r did not start: %s", order.name, error_text(error))  # noqa: TRY400 - one line is enough
        progress = Progress("failed", order.attempt, error=error_text(error))
        return progress, Details(error)
    logger.info("job %r %s", order.name, progress.status)
    return progress, details


def _packed(details: Details) -> bytes | None:
    try:
        return details.packed()
    except Exception:
        logger.exception("error, dead letters and gathered records stay behind")
        return None


def _load(folder: JobFolder) -> PipelineSpec:
    try:
        spec: PipelineSpec = pickle.loads(folder.pipeline.read_bytes())  # noqa: S301 - running it is the point
    except Exception as error:
        raise DataflowError(
            f"the pipeline cannot be loaded here: {error_text(error)}; a module that it needs may "
            "not be installed where the job manager runs"
        ) from error
    return spec


if __name__ == "__main__":
    sys.exit(main())
