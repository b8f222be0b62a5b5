"""The entry point of ``sage-cp-bench``."""

from __future__ import annotations

import sys

from sage.cli.run import run_cli


def main() -> None:
    """Run the command line and exit with its code."""
    from sage.benchmark.cli import cli

    sys.exit(run_cli(cli, "sage-cp-bench"))
