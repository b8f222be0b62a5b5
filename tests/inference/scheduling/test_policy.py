"""Policies are found by name, and users add theirs."""

from __future__ import annotations

import pytest

from sage.errors import ConfigError, UnknownKeyError
from sage.inference.scheduling import policies, policy


def test_the_default_policy_is_found_by_name() -> None:
    """``fifo`` is registered with a description."""
    assert policy.make_policy("fifo").name == "fifo"
    assert policy.policy_descriptions()["fifo"]
    assert policies.__name__.startswith("sage.")


def test_unknown_policy_names_the_nearest() -> None:
    """A misspelt name is answered with the one that was meant."""
    with pytest.raises(UnknownKeyError, match="'fifo'"):
        policy.make_policy("fifi")


def test_users_register_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registered policy is made fresh each time; a taken name is refused."""
    monkeypatch.setattr(policy, "_factories", dict(policy._factories))
    policy.register_policy("mine", lambda: policy.make_policy("fifo"), description="mine")
    assert policy.make_policy("mine") is not policy.make_policy("mine")
    with pytest.raises(ConfigError, match="'mine' is registered already"):
        policy.register_policy("mine", lambda: policy.make_policy("fifo"), description="again")
