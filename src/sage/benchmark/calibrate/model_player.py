"""Probes played to the model of an engine."""

from __future__ import annotations

from collections.abc import Sequence

from sage.benchmark.calibrate.played import Played, Shot
from sage.benchmark.simulate.engine_request import EngineRequest
from sage.benchmark.simulate.llm_engine import LlmEngine
from sage.benchmark.simulate.profile import LlmProfile
from sage.errors import ConfigError
from sage.inference.scheduling.instance import InstanceSpec
from sage.inference.scheduling.request import Kind

_NEVER = float("inf")


class ModelPlayer:
    """Plays each probe to a simulated engine that nobody has used before.

    Args:
        profile: of the engine.
        overhead: tokens that it finds in a prompt beside those that were asked for.
    """

    def __init__(self, profile: LlmProfile, *, overhead: int = 0) -> None:
        self._profile = profile
        self._overhead = overhead

    def play(self, shots: Sequence[Shot]) -> list[Played]:
        """Send the shots, each when it is due, and wait for all answers.

        Raises:
            ConfigError: one does not fit the engine.
        """
        engine = LlmEngine(self._profile, InstanceSpec("probe", Kind.LLM, ("probe",)))
        head = self._profile.head_tokens
        requests = [
            EngineRequest(
                number,
                shot.prompt + self._overhead,
                shot.output,
                head=head if shot.cached is None else shot.cached,
            )
            for number, shot in enumerate(shots)
        ]
        for shot, request in sorted(zip(shots, requests, strict=True), key=lambda pair: pair[0].at):
            if refusal := engine.refuses(request):
                raise ConfigError(refusal)
            while engine.wake < shot.at:
                engine.step()
            engine.submit(request, shot.at)
        while engine.wake < _NEVER:
            engine.step()
        times = engine.log.times
        return [
            Played(
                shot.at,
                request.prompt,
                min(head if shot.cached is None else shot.cached, request.prompt - 1),
                [moment for begin, end in request.runs for moment in times[begin:end]],
            )
            for shot, request in zip(shots, requests, strict=True)
        ]
