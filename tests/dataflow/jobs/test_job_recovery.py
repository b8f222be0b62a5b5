"""Whether a job whose driver has died gets another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sage.dataflow.config import EnvironmentConfig
from sage.dataflow.jobs.recovery import DEFAULT, read_recovery, recovery_policy
from sage.dataflow.jobs.wire import Recovery
from sage.dataflow.restart import Exponential, FailureRate, FixedDelay, NoRestart


def policy(**given: Any) -> Any:
    config = EnvironmentConfig.from_mapping(given)
    return recovery_policy(read_recovery(config, given))


def test_a_job_with_checkpoints_gets_three() -> None:
    """One without any gets none, having nothing to go on from."""
    assert policy(checkpoint={"dir": "c"}) == DEFAULT == FixedDelay(attempts=3, delay=1.0)
    assert policy() is None


@pytest.mark.parametrize(
    "given",
    [
        FixedDelay(7, 0.5),
        Exponential(first_delay=2.0, attempts=4),
        FailureRate(failures=2, within=60.0),
        NoRestart(),
    ],
)
def test_the_restart_policy_holds_for_drivers_too(given: Any) -> None:
    """With all of its settings; "none" means none, with checkpoints as well."""
    assert policy(restart=given) == given
    assert policy(restart=given, checkpoint={"dir": "c"}) == given
    assert policy(restart="none", checkpoint={"dir": "c"}) == NoRestart()


def test_a_policy_of_the_users_own_stays_with_the_driver() -> None:
    """The manager runs no code of users."""

    class Always:
        def wait_after(self, failures: Any) -> float:
            return 0.0

    assert policy(restart=Always(), checkpoint={"dir": "c"}) == DEFAULT
    assert policy(restart=Always()) is None


def test_a_folder_is_told_from_the_root() -> None:
    """The job may run in another one; a URL is the same everywhere."""
    for folder, told in (("c", str(Path.cwd() / "c")), ("s3://b/c", "s3://b/c"), ("/c", "/c")):
        given = {"checkpoint": {"dir": folder}}
        assert read_recovery(EnvironmentConfig.from_mapping(given), given) == Recovery(told)
