"""The control plane at work: one service over one engine, then over two.

    python examples/tutorials/vllm_control_plane_tutorial.py

It starts the packaged LLM on free ports (`sage models install --default` fetches it), sends it
requests through `ControlPlaneVLLMService`, and stops all it has started. Engines that run
elsewhere, vLLM or any other with the OpenAI routes, are used the same way: name their host, port
and model in ``instances``.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sage import SageError, StackConfig, running_stack
from sage.common.components.sage_llm import ControlPlaneVLLMService
from sage.config.paths import user_paths
from sage.inference.engines.options import EngineOptions
from sage.inference.engines.spec import EngineSpec

QUESTIONS = [
    "Name a colour.",
    "Name an animal.",
    "Name a city in France.",
    "What is two plus two?",
    "What do bees make?",
    "Is water wet?",
]


@contextmanager
def engines(count: int) -> Iterator[tuple[EngineSpec, ...]]:
    """Run the packaged LLM ``count`` times while the block lasts, apart from any other stack."""
    with tempfile.TemporaryDirectory(prefix="sage-tutorial-") as folder:
        here = Path(folder)
        paths = dataclasses.replace(user_paths(), state=here, logs=here)
        # Engines that share the processors must not each start a thread for all of them.
        threads = max(1, (os.cpu_count() or 1) // count)
        options = EngineOptions(extra=("--threads", str(threads)))
        config = StackConfig(
            embedding=False, instances=count, gateway_port=0, llm_port=0, options=options
        )
        with running_stack(config, paths=paths) as stack:
            yield stack.engines


def service_config(specs: tuple[EngineSpec, ...], policy: str) -> dict[str, Any]:
    """Return a service's configuration over engines that run."""
    return {
        "scheduling_policy": policy,
        "instances": [
            {
                "instance_id": spec.id,
                "host": "localhost",
                "port": spec.port,
                "model_name": spec.model,
                "max_concurrent_requests": spec.max_requests,
            }
            for spec in specs
        ],
    }


def show(service: ControlPlaneVLLMService) -> None:
    """Print the instances with their ports, and the metrics."""
    for instance in service.show_instances():
        health = "healthy" if instance["up"] else f"down: {instance['reason']}"
        print(f"  {instance['id']}  {instance['url']}  {instance['models'][0]}  {health}")
    metrics = service.get_metrics()
    print("Metrics:", json.dumps({name: metrics[name] for name in metrics if name != "series"}))


def basic_usage(specs: tuple[EngineSpec, ...]) -> None:
    """One instance: set up, look, ask, look again."""
    print("Demo 1: Basic Usage")
    service = ControlPlaneVLLMService(service_config(specs[:1], "adaptive"))
    service.setup()
    try:
        show(service)
        question = [{"role": "user", "content": "Write one sentence about the sea."}]
        result = service.generate(question, max_tokens=24, temperature=0.0)
        print(f"  answer: {' '.join((result.text or '').split())}")
        print(f"  {result.completion_tokens} tokens in {result.latency_s:.2f} s")
        show(service)
    finally:
        service.cleanup()


def load_balancing(specs: tuple[EngineSpec, ...]) -> None:
    """Several instances: requests sent at once are shared out among them."""
    print("Demo 2: Multi-Instance Load Balancing")
    with ControlPlaneVLLMService(service_config(specs, "slo_aware")) as service:
        print("  health:", service.health_check_all())
        records = [
            {"messages": [{"role": "user", "content": text}], "max_tokens": 12, "temperature": 0.0}
            for text in QUESTIONS
        ]
        with ThreadPoolExecutor(len(records)) as pool:
            results = list(pool.map(service.process, records))
        for instance, number in sorted(Counter(r.instance for r in results).items(), key=str):
            print(f"  {instance} answered {number} of {len(results)}")
        show(service)
        for series in service.get_metrics()["series"]:
            print(f"  {series['model']}: end to end, in ms: {series['e2e_ms']}")


def main() -> int:
    """Run both demos; 0 when they ran, else the error's exit code."""
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    logging.getLogger("sage.service").setLevel(logging.INFO)
    try:
        with engines(2) as specs:
            basic_usage(specs)
            load_balancing(specs)
    except SageError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
