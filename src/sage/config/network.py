"""Where on the network this machine is, and which model hub is near."""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from sage.config.settings import load_settings
from sage.errors import ConfigError

logger = logging.getLogger("sage.config")

HF_DEFAULT = "https://huggingface.co"
HF_MIRROR_CHINA = "https://hf-mirror.com"

# Reachable from everywhere except mainland China, and the other way round as a control: a machine
# with no network at all reaches neither and is not taken for one in China.
_BLOCKED_IN_CHINA = (("huggingface.co", 443), ("www.google.com", 443))
_INSIDE_CHINA = (("hf-mirror.com", 443), ("www.baidu.com", 443))
_BUDGET_S = 3.0
_CHINA_ZONES = frozenset({"Asia/Shanghai", "Asia/Urumqi", "Asia/Chongqing", "Asia/Harbin", "PRC"})

Address = tuple[str, int]
Probe = Callable[[Address, float], bool]


def tcp_probe(address: Address, timeout: float) -> bool:
    """Whether a TCP connection opens within ``timeout`` seconds."""
    try:
        with socket.create_connection(address, timeout=timeout):
            return True
    except OSError:
        return False


def probe_region(probe: Probe = tcp_probe, budget: float = _BUDGET_S) -> bool:
    """Whether the network looks like mainland China: its sites answer, the blocked ones do not.

    Args:
        probe: opens a connection to an address within a time, in seconds.
        budget: seconds for the whole answer; what has not answered by then counts as unreachable.
    """
    reached = _reached((*_BLOCKED_IN_CHINA, *_INSIDE_CHINA), probe, budget)
    return bool(reached & set(_INSIDE_CHINA)) and not reached & set(_BLOCKED_IN_CHINA)


def _reached(addresses: Iterable[Address], probe: Probe, budget: float) -> set[Address]:
    addresses = list(addresses)
    # Name look-ups cannot be interrupted, so the threads are left behind rather than waited for.
    pool = concurrent.futures.ThreadPoolExecutor(len(addresses), thread_name_prefix="sage-region")
    futures = {pool.submit(probe, address, budget): address for address in addresses}
    done, _ = concurrent.futures.wait(futures, timeout=budget)
    pool.shutdown(wait=False, cancel_futures=True)
    return {futures[future] for future in done if not future.exception() and future.result()}


@functools.cache
def detect_china_mainland() -> bool:
    """Whether this machine is in mainland China; answers within 3 s, once a process, never raises.

    ``SAGE_NETWORK_REGION`` (china or global) decides when it is set. Otherwise a time zone outside
    China says no without any traffic, and inside China a few connections are tried at once: no
    network at all means no.
    """
    try:
        region = load_settings().network_region
    except ConfigError as error:
        logger.warning("%s; looking at the network instead", error)
        region = None
    if region is not None:
        return region == "china"
    return local_zone() in _CHINA_ZONES and probe_region()


def local_zone() -> str:
    """Return the time zone's name as the system has it, or an empty string."""
    with contextlib.suppress(OSError):
        target = str(Path("/etc/localtime").readlink())
        if "zoneinfo/" in target:
            return target.split("zoneinfo/", 1)[1]
    # CST alone is ambiguous (China, US Central, Cuba); eight hours east of UTC is not.
    return "Asia/Shanghai" if time.timezone == -8 * 3600 and time.tzname[0] == "CST" else ""


def get_network_region() -> Literal["china", "global"]:
    """Return ``"china"`` or ``"global"``, by `detect_china_mainland`."""
    return "china" if detect_china_mainland() else "global"


def get_hf_endpoint() -> str:
    """Return the model hub to use: what the user set, else the one near this machine."""
    if endpoint := load_settings().hf_endpoint:
        return endpoint
    return HF_MIRROR_CHINA if detect_china_mainland() else HF_DEFAULT


def ensure_hf_mirror_configured() -> str:
    """Make ``HF_ENDPOINT`` hold the hub to use, for the libraries that read it; return it.

    One set by the user, in the environment or in `.env`, is never changed. In mainland China the
    mirror is set, which is logged with its reason; elsewhere nothing is set.
    """
    chosen = load_settings().hf_endpoint
    if chosen is None and detect_china_mainland():
        chosen = HF_MIRROR_CHINA
        logger.info("HF_ENDPOINT set to %s: this machine is in mainland China", chosen)
    if chosen is not None:
        os.environ.setdefault("HF_ENDPOINT", chosen)
    return chosen or HF_DEFAULT
