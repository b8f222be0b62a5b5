"""A stack of the real packaged engines on free ports, for the tests that need one."""

from __future__ import annotations

from sage.inference.engines.plan import StackConfig

ANY_PORTS = StackConfig(gateway_port=0, llm_port=0, embedding_port=0)
