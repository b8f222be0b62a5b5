"""The policies that come with SAGE; importing this package registers them."""

from __future__ import annotations

from sage.inference.scheduling.policies.fifo import fifo_policy
from sage.inference.scheduling.policy import register_policy

register_policy(
    "fifo",
    fifo_policy,
    description="first come, first served, on the instance with the fewest requests running",
)
