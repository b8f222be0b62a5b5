"""Asking what listens at a port whether it is Ray, before Ray itself looks for it.

Ray tries for half a minute, with lines of its own on the terminal, and does not say what was wrong.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from sage.cluster.address import AddressKind, RayAddress
from sage.errors import ClusterError, NoClusterError

_PATIENCE_S = 5.0
_WHERE_TOKENS_ARE = "the cluster's token is taken from ~/.ray/auth_token or RAY_AUTH_TOKEN"


def no_cluster(address: RayAddress, reason: str) -> NoClusterError:
    """Return the error that there is no cluster at an address."""
    return NoClusterError(
        f"no Ray cluster answers at {address}: {reason}; start one with `ray start --head`, or "
        'give the address "local"'
    )


def check_answers(ray: Any, address: RayAddress) -> None:
    """Return when a port is that of a cluster which takes this process.

    Args:
        ray: the module.
        address: of kind ``DIRECT`` or ``CLIENT``; something listens there.

    Raises:
        NoClusterError: it is another server, or does not answer within 5 s.
        ClusterError: the cluster asks for another token.
    """
    grpc: Any = importlib.import_module("grpc")
    channel = _channel(address.target)
    try:
        _call(address.kind, channel)()
    except grpc.RpcError as error:
        problem = _problem(grpc.StatusCode, address, error.code())
        if problem is not None:
            raise problem from error
    except ray.exceptions.RayError as error:
        # Only tokens are looked for on this side.
        raise ClusterError(
            f"RAY_AUTH_MODE is token, and there is none for the Ray cluster at {address}; "
            f"{_WHERE_TOKENS_ARE}"
        ) from error
    finally:
        channel.close()


def _problem(codes: Any, address: RayAddress, code: Any) -> ClusterError | None:
    """Return what an answer means; None when it comes from a cluster after all."""
    if code is codes.UNAUTHENTICATED:
        return _wrong_token(address)
    if code is codes.UNIMPLEMENTED:
        return no_cluster(address, f"what listens there is {_other(address)}")
    if code is codes.UNAVAILABLE:
        return no_cluster(address, "what listens there is another server")
    if code is codes.DEADLINE_EXCEEDED:
        return no_cluster(address, f"what listens there is silent for {_PATIENCE_S:g} s")
    return None


def _wrong_token(address: RayAddress) -> ClusterError:
    utils: Any = importlib.import_module("ray._private.authentication.authentication_utils")
    if utils.is_token_auth_enabled():
        return ClusterError(
            f"the Ray cluster at {address} has another token than this process; {_WHERE_TOKENS_ARE}"
        )
    return ClusterError(
        f"the Ray cluster at {address} asks for a token, and this process sends none; set "
        f"RAY_AUTH_MODE=token: {_WHERE_TOKENS_ARE}"
    )


def _other(address: RayAddress) -> str:
    if address.kind is AddressKind.CLIENT:
        return "no client server of Ray, whose port is 10001 unless the head was told another"
    return f"not a head's own port (is it a client server, ray://{address.target}?)"


def _call(kind: AddressKind, channel: Any) -> Callable[[], object]:
    """Return a question that changes nothing, to be asked of a port of that kind."""
    generated = "ray.core.generated"
    if kind is AddressKind.CLIENT:
        client: Any = importlib.import_module(f"{generated}.ray_client_pb2")
        clients: Any = importlib.import_module(f"{generated}.ray_client_pb2_grpc")
        ping = client.ClusterInfoRequest(type=client.ClusterInfoType.PING)
        return lambda: clients.RayletDriverStub(channel).ClusterInfo(ping, timeout=_PATIENCE_S)
    head: Any = importlib.import_module(f"{generated}.gcs_service_pb2")
    heads: Any = importlib.import_module(f"{generated}.gcs_service_pb2_grpc")
    check = head.CheckAliveRequest()
    return lambda: heads.NodeInfoGcsServiceStub(channel).CheckAlive(check, timeout=_PATIENCE_S)


def _channel(target: str) -> Any:
    """Return a connection as Ray makes it: with its token and TLS, where those are asked for."""
    try:
        home: Any = importlib.import_module("ray._private.grpc_utils")
    except ImportError:  # the place of it in earlier versions
        home = importlib.import_module("ray._private.utils")
    return home.init_grpc_channel(target, [("grpc.enable_http_proxy", 0)])
