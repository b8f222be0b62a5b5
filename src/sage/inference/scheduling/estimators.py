"""How many tokens a request has and will have, learned from what engines report."""

from __future__ import annotations

import functools
from collections import OrderedDict

_DEFAULT_OUTPUT = 128.0
_KEEP = 0.95
_MAX_KEYS = 4096
_Key = tuple[str, str, int]


class TokenEstimator:
    """Corrects prompt estimates by model, and expects outputs by model, tenant and prompt size.

    The gateway guesses a prompt's tokens from its bytes; engines report the true count, and the
    ratio of the two, by model, corrects later guesses. Outputs are expected to be as long as the
    last ones with a prompt of the same power of two, then of the same tenant, then of the model;
    128 tokens when nothing is known. At most 4,096 such means are kept, the latest used.
    """

    __slots__ = ("_outputs", "_ratios")

    def __init__(self) -> None:
        self._ratios: dict[str, float] = {}
        self._outputs: OrderedDict[_Key, float] = OrderedDict()

    def prompt(self, model: str, guess: int) -> int:
        """Return the prompt tokens to reckon with for a guess; at least 1 when the guess is."""
        ratio = self._ratios.get(model)
        return guess if ratio is None or guess < 1 else max(1, round(guess * ratio))

    def correction(self, model: str) -> float:
        """Return the tokens an engine counts for each that is guessed of a prompt."""
        return self._ratios.get(model, 1.0)

    def output(self, model: str, tenant: str, prompt: int, most: int = 0) -> int:
        """Return the tokens to expect, at most ``most`` where that is above 0."""
        mean = self._mean(model, tenant, prompt)
        expected = max(1, round(mean))
        return min(expected, most) if most > 0 else expected

    def learn(self, model: str, tenant: str, guess: int, prompt: int, completion: int) -> None:
        """Take in what an engine has counted.

        Args:
            model: the model's served name.
            tenant: whose request it was; empty for none.
            guess: the tokens guessed for the prompt before correction.
            prompt: the prompt's tokens; 0 when not reported.
            completion: generated tokens; 0 for embeddings.
        """
        if guess > 0 and prompt > 0:
            ratio = min(20.0, max(0.02, prompt / guess))
            old = self._ratios.get(model)
            self._ratios[model] = ratio if old is None else _KEEP * old + (1 - _KEEP) * ratio
        if completion > 0:
            for key in _keys(model, tenant, prompt.bit_length()):
                self._count(key, completion)

    def _count(self, key: _Key, completion: int) -> None:
        outputs = self._outputs
        old = outputs.get(key)
        if old is None:
            outputs[key] = completion
            if len(outputs) > _MAX_KEYS:
                outputs.popitem(last=False)
            return
        outputs[key] = old + (1 - _KEEP) * (completion - old)
        # Far from the limit it does not matter which were used last.
        if len(outputs) > _MAX_KEYS // 2:
            outputs.move_to_end(key)

    def _mean(self, model: str, tenant: str, prompt: int) -> float:
        outputs = self._outputs
        for key in _keys(model, tenant, prompt.bit_length()):
            mean = outputs.get(key)
            if mean is not None:
                return mean
        return _DEFAULT_OUTPUT


@functools.lru_cache(maxsize=_MAX_KEYS)
def _keys(model: str, tenant: str, size: int) -> tuple[_Key, ...]:
    """Name the means an output belongs to, the narrowest first."""
    if tenant:
        return (model, tenant, size), (model, tenant, -1), (model, "", -1)
    return (model, "", size), (model, "", -1)
