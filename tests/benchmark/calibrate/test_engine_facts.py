"""What an engine says of itself is asked, and what it does not say is named."""

from __future__ import annotations

from sage.benchmark.calibrate.engine_facts import EngineFacts, read_facts
from sage.benchmark.target import Found
from sage.benchmark.wire import Models
from tests.benchmark.server import TinyServer

VLLM = """# TYPE vllm:cache_config_info gauge
vllm:cache_config_info{block_size="32",cache_dtype="auto",num_gpu_blocks="2500"} 1.0
"""


def facts(pages: dict[str, object], **given: int) -> EngineFacts:
    """Return what is known of a server with these pages."""
    with TinyServer() as server:
        server.pages = pages
        return read_facts(Found(server.url, Models("chat")), given)


def test_llama_cpp_tells_its_slots_and_its_context() -> None:
    """It never preempts; what its pool holds it does not tell."""
    found = facts({"/props": {"total_slots": 6, "default_generation_settings": {"n_ctx": 900}}})
    assert (found.name, found.preempts) == ("llama.cpp", False)
    assert (found.capacity.max_num_seqs, found.capacity.max_model_len) == (6, 900)
    assert found.capacity.num_gpu_blocks == 6 * 900
    assert found.assumed == ("block_size", "max_num_batched_tokens", "num_gpu_blocks")


def test_vllm_tells_its_cache() -> None:
    """On the metrics page, its version and longest request elsewhere."""
    found = facts(
        {
            "/metrics": VLLM,
            "/version": {"version": "0.24.0"},
            "/v1/models": {"data": [{"id": "chat", "max_model_len": 1024}]},
        }
    )
    assert (found.name, found.version, found.preempts) == ("vllm", "0.24.0", True)
    capacity = found.capacity
    assert (capacity.num_gpu_blocks, capacity.block_size) == (2500, 32)
    assert capacity.max_model_len == 1024
    assert found.assumed == ("max_num_batched_tokens", "max_num_seqs")


def test_what_is_given_holds() -> None:
    """Over what is told and what is usual; all else of an unknown engine is assumed."""
    found = facts({}, kv_tokens=1600, max_num_seqs=7)
    assert found.name == "unknown"
    assert (found.capacity.num_gpu_blocks, found.capacity.max_num_seqs) == (100, 7)
    assert found.assumed == ("block_size", "max_model_len", "max_num_batched_tokens")
