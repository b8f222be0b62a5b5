"""From a server's configuration to the policy that its scheduler follows."""

from __future__ import annotations

from collections.abc import Iterable

import sage.inference.scheduling.policies  # noqa: F401 - importing it registers the policies
from sage.errors import UnknownKeyError
from sage.inference.plugins import load_policy_plugins
from sage.inference.scheduling.policy import policy_descriptions
from sage.inference.scheduling.policy_types import SchedulingPolicyType
from sage.inference.scheduling.request import Kind

PROXY_POLICY = "round_robin"
"""What a gateway without a control plane does."""


def check_policy(name: str) -> None:
    """Make sure that there is a policy by that name, of SAGE or of an installed package.

    Raises:
        UnknownKeyError: there is none; names the nearest.
        ConfigError: a package's policy cannot be loaded.
    """
    if name in policy_descriptions():
        return
    load_policy_plugins()
    known = policy_descriptions()
    if name not in known:
        raise UnknownKeyError(name, known, where="scheduling_policy")


def effective_policy(name: str, kinds: Iterable[Kind]) -> str:
    """Return the policy that serves what was asked for over instances of these kinds.

    ``slo_aware`` over LLMs and embeddings is ``hybrid_slo``, which orders both together.
    """
    if name == SchedulingPolicyType.SLO_AWARE and len(set(kinds)) > 1:
        return SchedulingPolicyType.HYBRID_SLO.value
    return str(name)
