"""What a stack's gateway is told of the engines."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from sage.inference.engines.plan import StackPlan
from sage.inference.engines.spec import EngineSpec
from sage.inference.gateway.config import UnifiedServerConfig
from sage.inference.gateway.unified import UnifiedAPIServer

# Seconds until the connections of an engine on a cluster that ended are closed, if they ever are:
# its guard has ended it by then.
_CLOSED_S = 5.0


class EngineRegistry:
    """Keeps the gateway's instances in step with where the engines are and whether they are well.

    Args:
        plan: the engines; `plan` has their addresses of now.
        may_vanish: whether an engine's machine can be gone without closing its connections.
    """

    def __init__(self, plan: StackPlan, *, may_vanish: bool) -> None:
        self.plan = plan
        self.server: UnifiedAPIServer
        self._may_vanish = may_vanish
        self._aborts: dict[str, asyncio.TimerHandle] = {}

    def up(self, spec: EngineSpec) -> None:
        """An engine is healthy, at the address it had or at another one."""
        if spec.id in self._aborts:
            self._abort(spec.id, "it is replaced")
        moved = spec not in self.plan.engines
        if moved:
            others = self.plan.engines
            engines = tuple(spec if other.id == spec.id else other for other in others)
            self.plan = replace(self.plan, engines=engines)
            placed = self.plan.server(UnifiedServerConfig())
            self.server.config = replace(
                self.server.config,
                llm_backends=placed.llm_backends,
                embedding_backends=placed.embedding_backends,
            )
        if self._has(spec.id):
            if moved:
                self._change(spec.id)
            self.server.gateway.restarted(spec.id)

    def down(self, spec: EngineSpec, reason: str) -> None:
        """An engine that was healthy is no longer."""
        if not self._has(spec.id):
            return
        self.server.gateway.set_down(spec.id, reason)
        if self._may_vanish:
            # What its node still closes is sent elsewhere or ends by itself. A node that is gone
            # closes nothing: what runs there would wait for it.
            loop = asyncio.get_running_loop()
            self._aborts[spec.id] = loop.call_later(_CLOSED_S, self._abort, spec.id, reason)

    def close(self) -> None:
        """Tell the gateway nothing any more."""
        for timer in self._aborts.values():
            timer.cancel()

    def _has(self, id_: str) -> bool:
        # Before it serves, the gateway has no instances; one that a manager removed stays out.
        return id_ in self.server.gateway.instance_ids()

    def _change(self, id_: str) -> None:
        for instance, backend in self.server.config.instances():
            if instance.id == id_:
                self.server.gateway.change_instance(
                    instance, backend.url, backend.api_key, priorities=backend.priorities
                )

    def _abort(self, id_: str, reason: str) -> None:
        self._aborts.pop(id_).cancel()
        if self._has(id_):
            self.server.gateway.set_down(id_, reason, abort=True)
