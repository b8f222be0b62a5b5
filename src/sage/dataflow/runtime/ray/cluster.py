"""The Ray cluster of a job: what it has, and whether that is enough."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from sage.cluster.connect import RayCluster
from sage.dataflow.runtime.ray.config import RayJobConfig
from sage.dataflow.runtime.ray.placement import Needs
from sage.errors import ResourceError

logger = logging.getLogger("sage.dataflow")

STORE_SHARE = 0.5
# Bytes; less than this goes by the object store not at all.
LEAST_WINDOW = 200_000


class JobCluster(RayCluster):
    """A connection to the cluster that a job's config names; arguments as of `RayCluster`."""

    config: RayJobConfig

    def total(self) -> Needs:
        """Return what all nodes have together."""
        return _needs(self.resources())

    def free(self) -> Needs:
        """Return what nobody has taken."""
        return _needs(self.available())

    def window(self, links: int) -> int:
        """Return the bytes that may be under way on each of so many links of a job.

        All together fill no more than half of the object store, beyond which Ray writes to disks.
        """
        store = self.resources().get("object_store_memory", 0.0)
        share = int(STORE_SHARE * store / max(links, 1))
        return min(self.config.bytes_in_flight, max(share, LEAST_WINDOW))

    def largest(self) -> list[Needs]:
        """Return what each living node has."""
        return [_needs(node["Resources"]) for node in self.ray.nodes() if node["Alive"]]

    def check(self, asked: Needs, each: Mapping[str, Needs]) -> None:
        """See that the cluster has what a job's operators ask for; log what it waits for.

        Args:
            asked: by all actors together.
            each: by one replica of a stage, which one node must have; by the stage's name.

        Raises:
            ResourceError: it has not, and the config does not say to wait.
        """
        if lack := self._lack(asked, each):
            if not self.config.wait:
                raise ResourceError(f"{lack}; ask for less, or set ray={{'wait': True}}")
            # Its actors are created all the same: a cluster that grows does so for them.
            logger.warning("%s; the job waits", lack)

    def _lack(self, asked: Needs, each: Mapping[str, Needs]) -> str:
        """Say what the cluster lacks for the actors; empty for nothing."""
        total = self.total()
        if not asked.fit(total):
            return f"the operators ask for {asked}, and the cluster has {total}"
        nodes = self.largest()
        for name, needs in each.items():
            if not any(needs.fit(node) for node in nodes):
                has = "; ".join(map(str, nodes))
                return f"a replica of {name!r} asks for {needs}, and no node has that: {has}"
        return ""


def _needs(resources: Mapping[str, float]) -> Needs:
    return Needs(
        resources.get("CPU", 0.0), resources.get("GPU", 0.0), int(resources.get("memory", 0))
    )
