"""Which engines run where."""

from __future__ import annotations

import os
import random
import re
import socket
from collections.abc import Iterator

import pytest

from sage.config.paths import user_paths
from sage.config.ports import can_bind
from sage.config.settings import Settings
from sage.errors import ConfigError, PortInUseError
from sage.inference.engines.plan import StackConfig, StackPlan, plan_stack
from sage.inference.gateway.config import BackendInstanceConfig, UnifiedServerConfig
from sage.inference.scheduling.slo import SLO

ANY = StackConfig(gateway_port=0, llm_port=0, embedding_port=0)


def _plan(config: StackConfig, settings: Settings | None = None) -> StackPlan:
    return plan_stack(config, user_paths(), settings or Settings())


def test_the_defaults_are_an_llm_and_an_embedding_model() -> None:
    """LLMs come first; every port is another one."""
    plan = _plan(ANY)
    assert [spec.id for spec in plan.engines] == ["llm-1", "embedding-1"]
    ports = {plan.gateway_port, *(spec.port for spec in plan.engines)}
    assert len(ports) == 3


def _busy_after_free(tries: int = 200) -> Iterator[int]:
    """Yield a port that is held, with a free one just before it.

    They are taken from below the range that the system gives to outgoing connections, where
    neighbours come and go.
    """
    source = random.Random()
    for _ in range(tries):
        busy = source.randrange(20_000, 30_000)
        with socket.socket() as holder:
            if not can_bind(busy) or not can_bind(busy - 1):
                continue
            holder.bind(("127.0.0.1", busy))
            holder.listen()
            yield busy
            return
    pytest.fail(f"no pair of ports was found in {tries} tries")


def test_instances_take_the_next_free_ports() -> None:
    """A busy port in between is passed over."""
    for busy in _busy_after_free():
        config = StackConfig(gateway_port=0, llm_port=busy - 1, embedding=False, instances=3)
        plan = _plan(config)
    ports = [spec.port for spec in plan.engines]
    assert [spec.id for spec in plan.engines] == ["llm-1", "llm-2", "llm-3"]
    assert ports[0] == busy - 1
    assert busy not in ports
    assert ports == sorted(set(ports))


def test_settings_name_the_ports_unless_flags_do(free_port: int) -> None:
    """A flag is nearer than `.env`."""
    settings = Settings(gateway_port=free_port, llm_port=1, embedding_port=1)
    plan = _plan(StackConfig(llm_port=0, embedding_port=0), settings)
    assert plan.gateway_port == free_port
    assert 1 not in {spec.port for spec in plan.engines}


def test_a_held_port_names_its_holder_and_the_flag() -> None:
    """So that the user knows what to stop, or what to write."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        config = StackConfig(gateway_port=port, llm_port=0, embedding_port=0)
        expected = rf"port {port} for the gateway is held by .*pid {os.getpid()}.*--gateway-port"
        with pytest.raises(PortInUseError, match=expected):
            _plan(config)


def test_one_port_for_two_is_refused(free_port: int) -> None:
    """Whichever way it was asked for."""
    config = StackConfig(gateway_port=free_port, llm_port=free_port, embedding=False)
    message = re.escape(f"port {free_port} is asked for twice; give --port another one")
    with pytest.raises(ConfigError, match=message):
        _plan(config)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"instances": 0}, "--instances must be at least 1, not 0"),
        ({"llm": False, "embedding": False}, "nothing to serve"),
        ({"gateway_port": 70000}, "--gateway-port must be a port from 0 to 65535, not 70000"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(
    arguments: dict[str, object], message: str
) -> None:
    """One line, with the value."""
    with pytest.raises(ConfigError, match=message):
        StackConfig(**arguments)  # type: ignore[arg-type]


def test_the_gateway_serves_the_stacks_engines() -> None:
    """Its configuration keeps what was asked, and gets address, engines and their limits."""
    asked = UnifiedServerConfig(api_keys=["sha256:" + "0" * 64], slo_classes={"llm": SLO(1.0)})
    plan = _plan(ANY)
    config = plan.server(asked)
    assert (config.host, config.port) == (plan.host, plan.gateway_port)
    assert config.policy() == "hybrid_slo"
    assert (config.api_keys, config.slo_classes) == (asked.api_keys, asked.slo_classes)
    (llm, _), (embedding, _) = config.instances()
    assert (llm.id, llm.max_requests, llm.chunk_tokens) == ("llm-1", 16, 2048)
    assert llm.max_tokens == plan.engines[0].max_tokens
    assert (embedding.id, embedding.max_tokens) == ("embedding-1", 1_048_576)


@pytest.mark.parametrize(
    ("gateway", "message"),
    [
        (
            {"llm_backends": [BackendInstanceConfig(port=1, model_name="m")]},
            "`sage gateway start`",
        ),
        ({"port": 9}, "--gateway-port"),
        ({"host": "0.0.0.0"}, "--host"),
    ],
)
def test_a_gateway_that_names_what_the_stack_settles_is_refused(
    gateway: dict[str, object], message: str
) -> None:
    """Two answers to one question are a mistake."""
    config = UnifiedServerConfig(**gateway)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        StackConfig(gateway=config)
