"""Which NVIDIA GPUs this machine has, as far as an engine's defaults go by them."""

from __future__ import annotations

import logging
import shutil
import subprocess

logger = logging.getLogger("sage.engines")

_QUERY = ("--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
_TIMEOUT_S = 10.0
_LARGE_MIB = 70 * 1024


def has_large_gpu() -> bool:
    """Whether the first GPU is one that vLLM gives larger batches; without a driver it is not."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    try:
        answer = subprocess.run(
            [program, *_QUERY], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("the GPUs' sizes are not known, small ones are assumed: %s", error)
        return False
    return is_large(answer.stdout)


def is_large(listed: str) -> bool:
    """Whether the first of the GPUs listed, ``name, MiB`` a line, has 70 GiB and is no A100."""
    first, _, _ = listed.partition("\n")
    name, _, memory = first.rpartition(",")
    memory = memory.strip()
    return memory.isdecimal() and int(memory) >= _LARGE_MIB and "a100" not in name.lower()
