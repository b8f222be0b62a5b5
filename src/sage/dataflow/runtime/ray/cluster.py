"""The Ray cluster of a job: what it has, and whether that is enough."""

from __future__ import annotations

from collections.abc import Mapping

from sage.cluster.connect import RayCluster
from sage.dataflow.runtime.ray.config import RayJobConfig
from sage.dataflow.runtime.ray.placement import Needs


class JobCluster(RayCluster):
    """A connection to the cluster that a job's config names; arguments as of `RayCluster`."""

    config: RayJobConfig

    def total(self) -> Needs:
        """Return what all nodes have together."""
        return _needs(self.resources())

    def free(self) -> Needs:
        """Return what nobody has taken."""
        return _needs(self.available())

    def largest(self) -> list[Needs]:
        """Return what each living node has."""
        return [_needs(node["Resources"]) for node in self.ray.nodes() if node["Alive"]]

    def check(self, asked: Needs, each: Mapping[str, Needs]) -> None:
        """See that the cluster has what a job asks for, or wait for it when the config says so.

        Args:
            asked: by all actors together.
            each: by one replica of a stage, which one node must have; by the stage's name.

        Raises:
            ResourceError: it has not.
        """
        self.wait_for(lambda: self._lack(asked, each))

    def _lack(self, asked: Needs, each: Mapping[str, Needs]) -> str | None:
        """Say what the cluster lacks; None for nothing."""
        total = self.total()
        if not asked.fit(total):
            return f"the job asks for {asked}, and the cluster has {total}"
        nodes = self.largest()
        for name, needs in each.items():
            if not any(needs.fit(node) for node in nodes):
                has = "; ".join(map(str, nodes))
                return f"a replica of {name!r} asks for {needs}, and no node has that: {has}"
        return None


def _needs(resources: Mapping[str, float]) -> Needs:
    return Needs(
        resources.get("CPU", 0.0), resources.get("GPU", 0.0), int(resources.get("memory", 0))
    )
