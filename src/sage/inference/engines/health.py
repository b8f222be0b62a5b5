"""Whether an engine answers."""

from __future__ import annotations

import httpx2

_TIMEOUT_S = 5.0


class HealthProbe:
    """Asks ``GET /health``; every engine SAGE runs has that route."""

    def __init__(self) -> None:
        # No proxies from the environment: engines are on this machine.
        self._client = httpx2.AsyncClient(timeout=_TIMEOUT_S, trust_env=False)

    async def healthy(self, url: str) -> bool:
        """Whether the engine at ``url`` says it is ready, within 5 s."""
        try:
            response = await self._client.get(f"{url}/health")
        except httpx2.HTTPError:
            return False
        return response.status_code == 200

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()
