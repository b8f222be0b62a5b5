"""Which tests stay in one process when the suite is spread over several."""

from __future__ import annotations

from xdist.scheduler import LoadGroupScheduling

# By files and folders, since pytest-xdist 3.8 does not see its own marker with pytest 9.2. A group
# shares what is dear to start, or is long: groups begin first, so that none is still at work when
# all the others are done.
TOGETHER = {
    "engines": (
        "tests/examples/test_benchmark_control_plane_demo.py",
        "tests/inference/engines/test_stack.py",
        "tests/inference/engines/test_stack_gateway.py",
        "tests/inference/gateway/test_official_clients.py",
        "tests/inference/scheduling/test_compiled_core.py",
        "tests/test_readme.py",
    ),
    "job manager": ("tests/cli/test_jobmanager.py", "tests/dataflow/jobs/"),
    # Each has a cluster of its own.
    "engines on ray": (
        "tests/cli/test_llm_on_ray.py",
        "tests/cluster/",
        "tests/inference/engines/remote/",
    ),
    "pipelines on ray": ("tests/dataflow/ray/",),
}


def group_of(nodeid: str) -> str | None:
    """Return the group of a test by its id; None when it may run anywhere."""
    path = nodeid.partition("::")[0]
    return next((name for name, parts in TOGETHER.items() if path.startswith(parts)), None)


# What needs no cluster, in the folders of those that do.
WITHOUT_CLUSTER = (
    "tests/cluster/test_address.py",
    "tests/cluster/test_ray_config.py",
    "tests/dataflow/ray/test_ray_inbox.py",
    "tests/dataflow/ray/test_ray_placement.py",
    "tests/inference/engines/remote/test_placement.py",
    "tests/inference/engines/remote/test_ray_plan.py",
)


def needs_ray(nodeid: str) -> bool:
    """Whether a test starts or uses a Ray cluster, which `make test-ray` runs: it takes minutes."""
    path = nodeid.partition("::")[0]
    return str(group_of(nodeid)).endswith("on ray") and path not in WITHOUT_CLUSTER


class Spread(LoadGroupScheduling):
    """Gives each process one test, or one group of tests, after the other."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid) or super()._split_scope(nodeid)
