"""The tutorial's path to `sage.config.network`."""

from sage.config.network import (
    detect_china_mainland,
    ensure_hf_mirror_configured,
    get_hf_endpoint,
    get_network_region,
)

__all__ = [
    "detect_china_mainland",
    "ensure_hf_mirror_configured",
    "get_hf_endpoint",
    "get_network_region",
]
