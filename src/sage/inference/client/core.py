"""What the sync and the async half of a client share."""

from __future__ import annotations

from collections.abc import Mapping

from sage.inference.client.config import ClientConfig
from sage.inference.client.pools import Pools
from sage.inference.client.senders import AsyncSender, SyncSender
from sage.inference.client.session import Session, Timing
from sage.inference.client.target import Target
from sage.inference.client.transports import Network, Transports
from sage.inference.scheduling.request import Kind


class ClientCore:
    """A session and the two senders that perform its flows.

    Args:
        config: the options.
        targets: the server of each kind.
        timing: clock and chance.
        transports: what carries requests; default: TCP connections.
    """

    def __init__(
        self,
        config: ClientConfig,
        targets: Mapping[Kind, Target],
        *,
        timing: Timing | None = None,
        transports: Transports | None = None,
    ) -> None:
        self._timing = timing or Timing()
        self._session = Session(config, targets, self._timing)
        self._pools = Pools(transports or Network())
        self._sync = SyncSender(self._pools, self._timing)
        self._async = AsyncSender(self._pools, self._timing)
