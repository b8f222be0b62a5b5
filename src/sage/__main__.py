"""``python -m sage`` is the ``sage`` command."""

from sage.cli.main import main

main()
