"""How many requests may be sent twice: a budget, so that retries never become the load."""

from __future__ import annotations

from sage.errors import ConfigError


class ResendBudget:
    """Each request pays in a share of a resend; a resend takes out a whole one.

    Resends stay below ``share`` of the requests plus ``reserve``, however many fail at once.

    Args:
        share: resends earned by a request.
        reserve: resends there are at the start, and the most that can be saved up.
    """

    __slots__ = ("_balance", "_reserve", "_share")

    def __init__(self, share: float = 0.2, reserve: float = 10.0) -> None:
        if not 0 <= share <= 1 or reserve < 0:
            raise ConfigError(
                f"a resend budget needs a share from 0 to 1 and a reserve of at least 0, "
                f"not {share} and {reserve}"
            )
        self._share = share
        self._reserve = reserve
        self._balance = reserve

    def earn(self) -> None:
        """A request has arrived."""
        balance = self._balance + self._share
        self._balance = min(self._reserve, balance)

    def spend(self) -> bool:
        """Take out one resend; False when there is none."""
        if self._balance < 1:
            return False
        self._balance -= 1
        return True
