"""Which versions go together."""

from __future__ import annotations

import pytest

from sage.dataflow.jobs.versions import check_versions, versions_here
from sage.dataflow.jobs.wire import Versions
from sage.errors import VersionMismatchError

HERE = Versions("3.12.4", "0.1.0", "3.1.0")


def test_the_same_versions_go_together() -> None:
    """So do patch releases of Python and versions of cloudpickle."""
    check_versions(versions_here(), versions_here())
    check_versions(Versions("3.12.9", "0.1.0", "3.0.0"), HERE)


def test_both_versions_are_named() -> None:
    """Of Python or of the package, whichever differs."""
    with pytest.raises(VersionMismatchError, match=r"Python 3\.11\.4, and .* has Python 3\.12\.4"):
        check_versions(Versions("3.11.4", "0.1.0", "3.1.0"), HERE)
    with pytest.raises(
        VersionMismatchError, match=r"sage-stack 0\.2\.0, and .* sage-stack 0\.1\.0"
    ):
        check_versions(Versions("3.12.4", "0.2.0", "3.1.0"), HERE)
