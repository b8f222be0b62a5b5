"""ControlPlaneVLLMService over engines that answer."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sage.common.components.sage_llm import ControlPlaneVLLMService
from sage.errors import ConfigError, InferenceError, UnknownKeyError
from sage.inference.service import ServiceConfig


class Engine(BaseHTTPRequestHandler):
    """Says which route and prompt it got; health as its server's ``well`` says."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self._send({}, 200 if self.server.well else 503)  # type: ignore[attr-defined]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        usage = {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}
        answer: dict[str, Any] = {"id": "1", "model": asked["model"], "usage": usage}
        if "input" in asked:
            texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
            answer["data"] = [
                {"index": i, "embedding": [float(len(t))]} for i, t in enumerate(texts)
            ]
        elif "messages" in asked:
            text = f"chat {asked['messages'][-1]['content']}"
            answer["choices"] = [{"index": 0, "message": {"role": "assistant", "content": text}}]
        else:
            answer["choices"] = [{"index": 0, "text": f"completion {asked['prompt']}"}]
        self._send(answer, 200)

    def _send(self, answer: object, status: int) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    well = True


@pytest.fixture
def engines() -> Iterator[list[Server]]:
    servers = [Server(("127.0.0.1", 0), Engine) for _ in range(3)]
    threads = [threading.Thread(target=server.serve_forever) for server in servers]
    for thread in threads:
        thread.start()
    yield servers
    for server in servers:
        server.shutdown()
        server.server_close()
    for thread in threads:
        thread.join()


def settings(engines: list[Server], **more: Any) -> dict[str, Any]:
    kinds = ("llm", "llm", "embedding")
    return {
        "scheduling_policy": "adaptive",
        "instances": [
            {
                "instance_id": f"{kind}-{number}",
                "host": "localhost",
                "port": engine.server_address[1],
                "model_name": "m" if kind == "llm" else "e",
                "instance_type": kind,
            }
            for number, (kind, engine) in enumerate(zip(kinds, engines, strict=True), 1)
        ],
        **more,
    }


def test_requests_of_every_sort_and_metrics_that_move(
    engines: list[Server], caplog: pytest.LogCaptureFixture
) -> None:
    """Generate, chat and embed are answered; every count is 0 before and right after."""
    caplog.set_level(logging.INFO)
    service = ControlPlaneVLLMService(settings(engines))
    service.setup()
    service.setup()
    try:
        assert "Registered 3 instances" in caplog.messages
        before = service.get_metrics()
        assert before["total_requests"] == 0
        assert before["scheduling_policy"] == "adaptive"
        assert before["healthy_instances"] == 3
        result = service.generate("hello", max_tokens=4)
        assert (result.text, result.completion_tokens) == ("completion hello", 1)
        assert service.generate([{"role": "user", "content": "hi"}]).text == "chat hi"
        assert service.process("again").text == "completion again"
        assert service.process({"messages": [{"role": "user", "content": "x"}]}).text == "chat x"
        assert service.process({"task": "embed", "texts": ["abc", "d"]}).vectors == [[3.0], [1.0]]
        after = service.get_metrics()
        assert after["total_requests"] == after["completed_requests"] == 5
        assert {series["model"] for series in after["series"]} == {"m", "e"}
        done = {item["id"]: item["done"] for item in service.show_instances()}
        assert done["embedding-3"] == 1
        assert done["llm-1"] + done["llm-2"] == 4
        assert min(done["llm-1"], done["llm-2"]) >= 1
    finally:
        service.cleanup()
        service.cleanup()


def test_health_is_asked_for_and_acted_on(engines: list[Server]) -> None:
    """An instance that says it is unwell is found at once and gets no more requests."""
    with ControlPlaneVLLMService(settings(engines)) as service:
        assert set(service.health_check_all().values()) == {True}
        engines[0].well = False
        assert service.health_check_all() == {"llm-1": False, "llm-2": True, "embedding-3": True}
        results = [service.generate("x") for _ in range(3)]
        assert {result.instance for result in results} == {"llm-2"}
        engines[0].well = True
        assert service.health_check_all()["llm-1"]
        assert all(item["up"] for item in service.show_instances())


def test_the_tutorials_service_without_any_engine() -> None:
    """The snippet runs where nothing is served: it sets up, shows zeros, and says why it fails."""
    service = ControlPlaneVLLMService(
        {
            "scheduling_policy": "adaptive",
            "instances": [
                {"instance_id": "llm-1", "host": "localhost", "port": 9, "model_name": "Qwen"}
            ],
        }
    )
    service.setup()
    try:
        assert service.get_metrics()["total_requests"] == 0
        assert service.get_metrics()["healthy_instances"] == 0
        assert not service.show_instances()[0]["up"]
    finally:
        service.cleanup()


@pytest.mark.parametrize(
    ("config", "error", "says"),
    [
        ({"schedulin_policy": "fifo"}, UnknownKeyError, "did you mean 'scheduling_policy'"),
        ({"scheduling_policy": "adaptiv"}, UnknownKeyError, "did you mean 'adaptive'"),
        ({"instances": [{"prot": 1}]}, UnknownKeyError, "did you mean 'port'"),
        ({"instances": [{"port": 1}]}, ConfigError, "model_name"),
        ({"request_timeout": 0}, ConfigError, "request_timeout"),
    ],
)
def test_mistakes_are_named(config: dict[str, Any], error: type[Exception], says: str) -> None:
    """When the service is made, not at the first request."""
    with pytest.raises(error, match=says):
        ControlPlaneVLLMService(config)


def test_a_service_that_is_not_set_up_says_so() -> None:
    """And a record that asks for nothing is named."""
    service = ControlPlaneVLLMService(ServiceConfig())
    with pytest.raises(InferenceError, match="call setup"):
        service.generate("x")
    with pytest.raises(ConfigError, match="asks for nothing"):
        service.process({"promt": "x"})
    with pytest.raises(UnknownKeyError, match="did you mean 'embed'"):
        service.process({"task": "embedd", "texts": []})
