"""The instances, and the groups in which they serve models."""

from __future__ import annotations

from collections.abc import Callable

from sage.errors import InferenceError
from sage.inference.scheduling.group import Group
from sage.inference.scheduling.instance import InstanceSpec, InstanceState
from sage.inference.scheduling.queue import RequestQueue
from sage.inference.scheduling.request import Kind, Request


class Fleet:
    """Every instance there is, indexed by id and by the models it serves.

    Attributes:
        instances: by id, in the order they were added.
        groups: by (kind, model); a group lives while an instance serves it.
        retired: removed instances that still run something.
    """

    def __init__(self) -> None:
        self.instances: dict[str, InstanceState] = {}
        self.groups: dict[tuple[Kind, str], Group] = {}
        self.retired: list[InstanceState] = []
        self._neighbours: dict[tuple[Kind, str], list[Group]] = {}

    def instance(self, instance_id: str) -> InstanceState:
        """Return one instance, or raise InferenceError naming those there are."""
        try:
            return self.instances[instance_id]
        except KeyError:
            known = ", ".join(self.instances) or "none"
            raise InferenceError(f"no instance {instance_id!r}; there are: {known}") from None

    def models(self, kind: Kind | None = None) -> list[tuple[str, Kind]]:
        """Return the models served, up or down, in the order they were added."""
        return [(g.model, g.kind) for g in self.groups.values() if kind is None or g.kind is kind]

    def groups_of(self, state: InstanceState) -> list[Group]:
        """Return the groups the instance serves."""
        keys = ((state.spec.kind, model) for model in state.spec.models)
        return [group for key in keys if (group := self.groups.get(key)) is not None]

    def neighbours(self, group: Group) -> list[Group]:
        """Return the group and those that share an instance with it."""
        if len(self.groups) == 1:
            return [group]
        found = self._neighbours.get((group.kind, group.model))
        if found is None:
            shared = [g for state in group.instances for g in self.groups_of(state)]
            found = list({id(g): g for g in [group, *shared]}.values())
            self._neighbours[group.kind, group.model] = found
        return found

    def put(
        self, spec: InstanceSpec, queue: Callable[[], RequestQueue]
    ) -> tuple[InstanceState, list[Group]]:
        """Add or change an instance.

        Args:
            spec: what it is.
            queue: makes the queue of a model that is new.

        Returns:
            It, up, and the groups it has left, to be pruned.
        """
        state = self.instances.get(spec.id)
        left: list[Group] = []
        if state is None:
            state = self.instances[spec.id] = InstanceState(spec)
            self._join(state, queue)
        elif state.spec != spec:
            left = self._leave(state)
            state.spec = spec
            self._join(state, queue)
            left = [group for group in left if state not in group.instances]
        if not state.up:
            # It may have been restarted: what it had cached is gone.
            state.prefixes.clear()
            state.telemetry = None
        state.up, state.reason = True, ""
        return state, left

    def remove(self, instance_id: str) -> list[Group]:
        """Take an instance out; return the groups it has left, to be pruned."""
        state = self.instance(instance_id)
        state.up, state.reason = False, "removed"
        del self.instances[instance_id]
        if state.running:
            self.retired.append(state)
        return self._leave(state)

    def release(self, state: InstanceState, request_id: int) -> None:
        """Free the slot a request held; forget a removed instance with its last one."""
        state.running.discard(request_id)
        if not state.running and self.instances.get(state.spec.id) is not state:
            self.retired.remove(state)

    def _join(self, state: InstanceState, queue: Callable[[], RequestQueue]) -> None:
        self._neighbours.clear()
        for model in dict.fromkeys(state.spec.models):
            key = (state.spec.kind, model)
            if key not in self.groups:
                self.groups[key] = Group(*key, queue())
            self.groups[key].instances.append(state)

    def _leave(self, state: InstanceState) -> list[Group]:
        self._neighbours.clear()
        groups = self.groups_of(state)
        for group in groups:
            group.instances.remove(state)
        return groups

    def prune(self, groups: list[Group]) -> None:
        """Forget those groups that no instance serves any longer, once nothing waits in them."""
        for group in groups:
            if not group.instances:
                del self.groups[group.kind, group.model]
                self._neighbours.clear()

    def unknown_model(self, request: Request) -> str:
        """Say that nothing here serves the request's model, and what there is."""
        known = ", ".join(repr(name) for name, _ in self.models(request.kind)) or "none"
        reason = f"the model {request.model!r} does not exist"
        other = Kind.EMBEDDING if request.kind is Kind.LLM else Kind.LLM
        if (other, request.model) in self.groups:
            reason = f"the model {request.model!r} is of kind {other.value!r}"
        return f"{reason}; models of kind {request.kind.value!r} here: {known}"

    def none_up(self, group: Group) -> str:
        """Say that all the group's instances are down, and why each is."""
        causes = "; ".join(f"{s.spec.id}: {s.reason}" for s in group.instances) or "it was removed"
        return f"no instance of {group.model!r} is up ({causes})"
