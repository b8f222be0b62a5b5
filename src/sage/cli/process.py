"""How a process that serves uses its interpreter and its system."""

from __future__ import annotations

import gc
import logging
import sys

logger = logging.getLogger("sage.cli")

_NEW_OBJECTS = 20_000


def settle_collector() -> None:
    """Leave what a server made while starting out of garbage collection, and collect less often.

    What there is by now lives as long as the process. A request leaves no cycles behind when all
    goes well, so the default of one collection every 700 new objects finds nothing to free.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 10, 10)


def allow_many_connections() -> None:
    """Raise the soft limit of open files to the hard one: each connection is an open file.

    The usual soft limit of 1,024 is there for programs that use ``select``; none here does.
    """
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        logger.info("open files: the limit of %d was raised to %d, for connections", soft, hard)
