"""API keys: who may send requests, and who may manage."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sage.errors import ConfigError
from sage.inference.gateway.errors import ApiError
from sage.inference.gateway.rate_limit import RateLimit
from sage.inference.scheduling.slo import SLO
from sage.inference.scheduling.tenants import Tenant

_PREFIX = "sha256:"
_HASH = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_KEY = re.compile(r"[\x21-\x7e]{8,200}")


def key_digest(key: str) -> bytes:
    """Return the SHA-256 digest of a key written plainly or as ``sha256:<64 hex digits>``.

    Raises:
        ConfigError: neither; the message does not show the key.
    """
    if key.startswith(_PREFIX):
        digits = key[len(_PREFIX) :].lower()
        if not _HASH.fullmatch(digits):
            raise ConfigError("an API key after sha256: must be 64 hexadecimal digits")
        return bytes.fromhex(digits)
    if not _KEY.fullmatch(key):
        raise ConfigError("an API key must be 8 to 200 printable ASCII characters, no spaces")
    return hashlib.sha256(key.encode()).digest()


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that may send requests, with a name and limits.

    Attributes:
        key: plain, or as ``sha256:<hex>``.
        name: of its holder, for the access log, traces and fairness; by default the beginning of
            the key's SHA-256.
        requests_per_second, tokens_per_minute: see RateLimit; no limits by default.
        weight: its share relative to other keys' while requests wait; once any key has one, keys
            take turns by the tokens they were served, under every policy.
        slo: objectives of its requests that bring none and whose class has none.

    Raises:
        ConfigError: the key or name cannot be used, or a limit or weight is not above 0.
    """

    key: str = field(repr=False)
    name: str = ""
    requests_per_second: float | None = None
    tokens_per_minute: float | None = None
    weight: float | None = None
    slo: SLO | None = None

    def __post_init__(self) -> None:
        key_digest(self.key)
        if self.name and not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"api_keys: name {self.name!r} must be 1 to 64 letters, digits and any of ._@-"
            )
        self.limit  # noqa: B018 - checks the limits
        self.claim  # noqa: B018 - checks the weight

    @property
    def limit(self) -> RateLimit:
        """What it may do."""
        return RateLimit(self.requests_per_second, self.tokens_per_minute)

    @property
    def claim(self) -> Tenant | None:
        """What its holder is entitled to from the scheduler, where anything is said of that."""
        if self.weight is None and self.slo is None:
            return None
        return Tenant(1.0 if self.weight is None else self.weight, self.slo)

    @property
    def tenant(self) -> str:
        """Its holder's name, which does not show the key."""
        return self.name or _made_name(key_digest(self.key))


class KeyRing:
    """Checks keys, comparing digests in constant time.

    Attributes:
        limits: of those keys that have any, by tenant.
        claims: what tenants are entitled to from the scheduler, of those of which it is said.

    Args:
        inference: keys, plain or with a name and limits, that may send requests and list models;
            without any, everyone may.
        management: keys that may do everything; without any, management is open to those who may
            send requests without a key, and closed as soon as there are inference keys.
        remote: whether the gateway can be reached from other machines, where management is never
            open without a key.
    """

    def __init__(
        self,
        inference: Iterable[str | ApiKey] = (),
        management: Iterable[str] = (),
        *,
        remote: bool = False,
    ) -> None:
        self._management = [key_digest(key) for key in management]
        keys = [key if isinstance(key, ApiKey) else ApiKey(key) for key in inference]
        own = [key_digest(key.key) for key in keys]
        _check_unique(keys, own)
        self._tenants = {digest: _made_name(digest) for digest in self._management}
        self._tenants |= {digest: key.tenant for digest, key in zip(own, keys, strict=True)}
        self.limits: Mapping[str, RateLimit] = {
            key.tenant: key.limit for key in keys if key.limit.bounded
        }
        self.claims: Mapping[str, Tenant] = {
            key.tenant: claim for key in keys if (claim := key.claim) is not None
        }
        self._inference = [*own, *self._management] if own else []
        self._remote = remote

    @property
    def guarded(self) -> bool:
        """Whether requests need a key."""
        return bool(self._inference)

    def tenant(self, authorization: bytes) -> str:
        """Return a name for the key's holder that does not show the key.

        Args:
            authorization: the Authorization header, or ``Bearer`` and an x-api-key.

        Raises:
            ApiError: 401, no key or none of those known.
        """
        digest = _presented(authorization)
        if not _among(digest, self._inference):
            raise _unauthorized(authorization)
        return self._tenants[digest]

    def check_management(self, authorization: bytes) -> None:
        """Let a manager pass.

        Raises:
            ApiError: 401 without a management key, 403 where none is configured.
        """
        if self._management:
            if not _among(_presented(authorization), self._management):
                raise _unauthorized(authorization)
        elif self.guarded or self._remote:
            raise ApiError(
                403,
                "management needs a key, and none is configured; set management_keys",
                type="permission_error",
                code="management_closed",
            )


def _made_name(digest: bytes) -> str:
    return digest.hex()[:12]


def _check_unique(keys: list[ApiKey], digests: list[bytes]) -> None:
    names = [key.tenant for key in keys]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"api_keys: {name!r} stands there twice; give each key its own name")
    if len(set(digests)) < len(digests):
        raise ConfigError(f"api_keys: two of {', '.join(names)} are one and the same key")


def _presented(authorization: bytes) -> bytes:
    scheme, _, key = authorization.partition(b" ")
    return hashlib.sha256(key.strip() if scheme.lower() == b"bearer" else b"").digest()


def _among(digest: bytes, known: list[bytes]) -> bool:
    found = False
    for item in known:
        found |= hmac.compare_digest(digest, item)
    return found


def _unauthorized(authorization: bytes) -> ApiError:
    message = (
        "the API key is not known here"
        if authorization
        else "no API key was given; send it as Authorization: Bearer KEY"
    )
    return ApiError(
        401,
        message,
        type="authentication_error",
        code="invalid_api_key",
        headers=[(b"www-authenticate", b"Bearer")],
    )
