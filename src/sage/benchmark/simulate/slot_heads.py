"""Which requests find the beginning that all prompts share, in an engine that clears idle slots."""

from __future__ import annotations

from collections import deque

# A slot is chosen for what it holds where that is more than this share of the new prompt.
_ALIKE = 0.1
# Saved texts of which less than this share would be of use are not brought back.
_USEFUL = 0.25


class SlotHeads:
    """The slots of llama.cpp's server with one pool of KV cache, and the texts it has saved.

    A slot keeps the text of its last request until the next request begins, in whichever slot; the
    texts of all idle slots are then saved to memory, and the slots cleared. A request takes a slot
    that holds the head, if that is long beside its prompt, or else the one idle for longest; if
    that one was cleared, a short enough text comes back from memory, once, with its head.

    Args:
        slots: how many.
        head: tokens with which every prompt begins.
    """

    __slots__ = ("_head", "_idle", "_saved")

    def __init__(self, slots: int, head: int) -> None:
        self._head = head
        # Tokens that each idle slot holds, the one idle for longest first.
        self._idle = deque([0] * slots)
        self._saved = 0

    def begin(self, prompt: int) -> bool:
        """Give a slot to a request; return whether it finds the head.

        Args:
            prompt: its tokens.
        """
        idle = self._idle
        place = 0
        if self._head > _ALIKE * prompt:
            place = next((at for at, held in enumerate(idle) if held), 0)
        found = idle[place] > 0
        if not found and self._saved:
            self._saved -= 1
            found = True
        for held in idle:
            if held and self._head >= _USEFUL * held:
                self._saved += 1
        del idle[place]
        self._idle = deque([0] * len(idle))
        return found

    def end(self, tokens: int) -> None:
        """Let a request's slot be idle.

        Args:
            tokens: that the slot holds, of prompt and answer.
        """
        self._idle.append(tokens)
