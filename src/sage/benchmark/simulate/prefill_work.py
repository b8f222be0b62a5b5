"""The prompts, or pieces of them, that one step of an engine computes."""

from __future__ import annotations

from dataclasses import dataclass, field

from sage.benchmark.simulate.engine_request import EngineRequest


@dataclass(slots=True)
class PrefillWork:
    """What a step's budget is filled with.

    Attributes:
        new: prompt tokens.
        pairs: of a new token and an earlier one, which attention computes.
        begun: prompts whose first tokens are among them.
        done: requests whose prompts end with this step.
    """

    new: int = 0
    pairs: float = 0.0
    begun: int = 0
    done: list[EngineRequest] = field(default_factory=list)

    def compute(self, request: EngineRequest, budget: int) -> int:
        """Take as much of a prompt as the budget allows; return how many tokens that is."""
        chunk = min(request.left, budget)
        self.pairs += chunk * (request.context - request.left + 0.5 * chunk)
        request.left -= chunk
        self.new += chunk
        if not request.left:
            self.done.append(request)
        return chunk
