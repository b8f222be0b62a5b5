"""Where on the network this machine is, and which model hub is near."""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import Literal

from sage.config.settings import export, load_settings
from sage.errors import ConfigError

logger = logging.getLogger("sage.config")

HF_DEFAULT = "https://huggingface.co"
HF_MIRROR_CHINA = "https://hf-mirror.com"

Address = tuple[str, int]
Probe = Callable[[Address, float], bool]

# Reachable from everywhere except mainland China, and the other way round as a control: a machine
# with no network at all reaches neither and is not taken for one in China.
_BLOCKED_IN_CHINA = frozenset({("huggingface.co", 443), ("www.google.com", 443)})
_INSIDE_CHINA = frozenset({("hf-mirror.com", 443), ("www.baidu.com", 443)})
_BUDGET_S = 3.0
_BEIJING_S = -8 * 3600  # seconds west of UTC, as the time module counts


def tcp_probe(address: Address, timeout: float) -> bool:
    """Whether a TCP connection opens within ``timeout`` seconds."""
    try:
        with socket.create_connection(address, timeout=timeout):
            return True
    except OSError:
        return False


def probe_region(
    probe: Probe = tcp_probe,
    budget: float = _BUDGET_S,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Whether the network looks like mainland China: its sites answer, the blocked ones do not.

    All are asked at once, and the answer is given as soon as it is certain.

    Args:
        probe: opens a connection to an address within a time, in seconds; may raise OSError.
        budget: seconds for the whole answer; what has not answered by then counts as unreachable.
        clock: seconds that only grow.
    """
    answers: queue.SimpleQueue[tuple[Address, bool]] = queue.SimpleQueue()
    deadline = clock() + budget
    waiting = set(_BLOCKED_IN_CHINA | _INSIDE_CHINA)
    for address in waiting:
        # Daemons: a name look-up cannot be interrupted, and must not hold the process's end.
        threading.Thread(
            target=_ask, args=(probe, address, budget, answers), name="sage-region", daemon=True
        ).start()
    inside = False
    while waiting & (_BLOCKED_IN_CHINA if inside else _INSIDE_CHINA):
        try:
            address, reached = answers.get(timeout=max(0.0, deadline - clock()))
        except queue.Empty:
            break
        waiting.discard(address)
        if reached and address in _BLOCKED_IN_CHINA:
            return False
        inside = inside or reached
    return inside


def _ask(
    probe: Probe,
    address: Address,
    timeout: float,
    answers: queue.SimpleQueue[tuple[Address, bool]],
) -> None:
    reached = False
    with contextlib.suppress(OSError):
        reached = probe(address, timeout)
    answers.put((address, reached))


@functools.cache
def detect_china_mainland() -> bool:
    """Whether this machine is in mainland China; answers within 3 s, once a process, never raises.

    ``SAGE_NETWORK_REGION`` (china or global) decides when it is set. Otherwise a time zone outside
    China says no without any traffic; with Beijing's, or with UTC, which servers and containers
    everywhere have, a few connections are tried at once. No network at all means no.
    """
    try:
        region = load_settings().network_region
    except ConfigError as error:
        logger.warning("%s; looking at the network instead", error)
        region = None
    if region is not None:
        return region == "china"
    return may_be_in_china() and probe_region()


def may_be_in_china() -> bool:
    """Whether the time zone leaves it open: Beijing's offset, Xinjiang's own, or bare UTC."""
    return time.timezone == _BEIJING_S or time.tzname[0] in {"+06", "UTC"}


def get_network_region() -> Literal["china", "global"]:
    """Return ``"china"`` or ``"global"``, by `detect_china_mainland`."""
    return "china" if detect_china_mainland() else "global"


def get_hf_endpoint() -> str:
    """Return the model hub to use: what the user set, else the one near this machine.

    Raises:
        ConfigError: a setting is wrong, or `.env` cannot be read.
    """
    if endpoint := load_settings().hf_endpoint:
        return endpoint
    return HF_MIRROR_CHINA if detect_china_mainland() else HF_DEFAULT


def ensure_hf_mirror_configured() -> str:
    """Make ``HF_ENDPOINT`` hold the hub to use, for the libraries that read it; return it.

    One set by the user, in the environment or in `.env`, is never changed. In mainland China the
    mirror is set, which is logged with its reason; elsewhere nothing is set. Call it before
    importing ``huggingface_hub``, which reads the variable once, on import.

    Raises:
        ConfigError: a setting is wrong, or `.env` cannot be read.
    """
    chosen = load_settings().hf_endpoint
    if chosen is None and detect_china_mainland():
        chosen = HF_MIRROR_CHINA
        logger.info("HF_ENDPOINT set to %s: this machine is in mainland China", chosen)
    if chosen is not None:
        export("HF_ENDPOINT", chosen)
    return chosen or HF_DEFAULT
