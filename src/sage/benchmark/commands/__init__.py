"""The subcommands of ``sage-cp-bench``, one family a file."""
