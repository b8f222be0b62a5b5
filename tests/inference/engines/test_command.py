"""The command lines that start engines."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from sage.errors import ConfigError
from sage.inference.engines import command, llama_cpp
from sage.inference.engines.command import engine_spec, unused_options
from sage.inference.engines.kinds import EngineKind
from sage.inference.engines.options import EngineOptions
from sage.inference.engines.resolve import ResolvedModel
from sage.inference.engines.shape import ModelShape
from sage.inference.scheduling.request import Kind

QWEN = ResolvedModel(
    "Qwen/Qwen2.5-7B-Instruct", Kind.LLM, EngineKind.VLLM, hub_id="Qwen/Qwen2.5-7B-Instruct"
)
SMOL = ResolvedModel("smol", Kind.LLM, EngineKind.LLAMA_CPP, path=Path("/m/model.gguf"))
MINI = ResolvedModel("mini", Kind.EMBEDDING, EngineKind.ONNX, path=Path("/m/mini"))


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here does not depend on this machine's GPUs."""
    monkeypatch.setattr(command, "has_large_gpu", lambda: False)


def test_vllm_gets_every_flag_and_what_follows_the_separator() -> None:
    """By the module, which works where the `vllm` command does not; priorities are allowed."""
    options = EngineOptions(
        gpu_memory=0.5,
        dtype="bfloat16",
        max_model_len=8192,
        tensor_parallel_size=2,
        extra=("--enable-prefix-caching", "--seed", "7"),
        vllm_python="/opt/vllm/bin/python",
    )
    spec = engine_spec("llm-1", QWEN, "127.0.0.1", 8001, options)
    assert spec.command == (
        *("/opt/vllm/bin/python", "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", "Qwen/Qwen2.5-7B-Instruct"),
        *("--served-model-name", "Qwen/Qwen2.5-7B-Instruct"),
        *("--host", "127.0.0.1", "--port", "8001"),
        *("--scheduling-policy", "priority"),
        *("--gpu-memory-utilization", "0.5"),
        *("--dtype", "bfloat16"),
        *("--max-model-len", "8192"),
        *("--tensor-parallel-size", "2"),
        *("--enable-prefix-caching", "--seed", "7"),
    )


def test_what_is_not_asked_for_is_not_passed() -> None:
    """The engine's own defaults stay its own."""
    command = engine_spec("llm-1", QWEN, "127.0.0.1", 8001, EngineOptions()).command
    assert command[0] == sys.executable
    assert not {"--dtype", "--max-model-len", "--gpu-memory-utilization"} & set(command)


def test_llama_cpp_holds_as_many_requests_as_it_has_slots() -> None:
    """The rest waits in the gateway, where it can be reordered."""
    spec = engine_spec("llm-1", SMOL, "127.0.0.1", 8001, EngineOptions(max_model_len=512))
    assert spec.max_requests == 16
    assert spec.command[-4:] == ("--max-model-len", "512", "--pool", "8192")


def test_options_without_use_are_known() -> None:
    """llama.cpp has no memory share; vLLM takes all."""
    options = EngineOptions(gpu_memory=0.5, dtype="half", max_model_len=512)
    assert unused_options(SMOL, options) == ["--gpu-memory", "--dtype"]
    assert unused_options(MINI, options) == ["--gpu-memory", "--dtype", "--max-model-len"]
    assert unused_options(QWEN, options) == []


@pytest.mark.parametrize("flag", ["--port", "--host=0.0.0.0", "--model", "--served_model_name"])
def test_flags_for_the_engine_do_not_contradict_the_stack(flag: str) -> None:
    """The gateway would look for the engine elsewhere, or under another name."""
    for model in (SMOL, QWEN):
        with pytest.raises(ConfigError, match=r"after -- would contradict the stack"):
            engine_spec("llm-1", model, "127.0.0.1", 8001, EngineOptions(extra=(flag, "1")))


@pytest.mark.parametrize(
    ("model", "extra", "requests"),
    [
        (SMOL, ("--slots", "4"), 4),
        (SMOL, ("--n-parallel=2", "--warmup", "off"), 2),
        (QWEN, ("--seed", "7", "--max-num-seqs", "32"), 32),
        (QWEN, ("--seed", "7"), 256),
        (MINI, (), 256),
    ],
)
def test_the_gateway_is_told_how_much_an_engine_takes_at_once(
    model: ResolvedModel, extra: tuple[str, ...], requests: int
) -> None:
    """Also when the engine's own flags say so."""
    spec = engine_spec("x-1", model, "127.0.0.1", 8001, EngineOptions(extra=extra))
    assert spec.max_requests == requests


@pytest.mark.parametrize(
    ("model", "extra", "tokens", "chunk"),
    [
        (SMOL, (), 7372, 2048),
        (SMOL, ("--slots", "4"), 1843, 2048),
        (SMOL, ("--n-ctx=1000", "--n-batch", "256"), 900, 256),
        (QWEN, (), None, 2048),
        (QWEN, ("--max-num-batched-tokens", "8192"), None, 8192),
        (MINI, ("--threads", "2"), 1_048_576, 8192),
        (MINI, ("--threads=1", "--max-batch-tokens=100", "--max-queue-tokens=5000"), 5000, 800),
    ],
)
def test_the_scheduler_is_told_how_many_tokens_an_engine_takes(
    model: ResolvedModel, extra: tuple[str, ...], tokens: int | None, chunk: int
) -> None:
    """llama.cpp's pool less a tenth, what our embedding server lets wait; vLLM queues by itself."""
    asked = EngineOptions(max_model_len=512, extra=extra)
    spec = engine_spec("x-1", model, "127.0.0.1", 8001, asked)
    assert (spec.max_tokens, spec.chunk_tokens) == (tokens, chunk)


def test_engines_of_one_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gets its part of what is free, and what that costs is said."""
    monkeypatch.setattr(llama_cpp, "free_memory", lambda _: 32 << 20)
    monkeypatch.setattr(llama_cpp, "read_shape", lambda _: ModelShape(8192, 1024))
    pools = []
    for engines in (1, 2):
        spec = engine_spec("l", SMOL, "127.0.0.1", 8001, EngineOptions(), engines=engines)
        pools.append(spec.command[-3:])
    assert pools == [("8192", "--pool", "8192"), ("4096", "--pool", "4096")]
    assert spec.note.startswith("requests are limited to 4096 tokens: 8192 tokens would take 8 MiB")


@pytest.mark.parametrize(
    ("flags", "priorities"),
    [
        ((), True),
        (("--scheduling-policy", "priority"), True),
        (("--scheduling_policy=fcfs",), False),
    ],
)
def test_vllm_is_told_priorities_unless_the_user_says_otherwise(
    flags: tuple[str, ...], priorities: bool
) -> None:
    """The flag stands there once, and the gateway knows whether priorities are taken."""
    spec = engine_spec("l", QWEN, "127.0.0.1", 8001, EngineOptions(extra=flags))
    assert spec.priorities is priorities
    words = [word for word in spec.command if word.startswith("--scheduling")]
    assert words == [flags[0] if flags else "--scheduling-policy"]
    assert not engine_spec("l", SMOL, "127.0.0.1", 8001, EngineOptions()).priorities


def test_vllm_takes_more_on_a_large_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """As its own defaults say."""
    monkeypatch.setattr(command, "has_large_gpu", lambda: True)
    spec = engine_spec("l", QWEN, "127.0.0.1", 8001, EngineOptions())
    assert (spec.max_requests, spec.chunk_tokens) == (1024, 8192)


def test_embeddings_run_in_our_server() -> None:
    """With the engine it was resolved to."""
    command = engine_spec("embedding-1", MINI, "127.0.0.1", 8090, EngineOptions()).command
    assert command[1:4] == ("-m", "sage.inference.embeddings.server", "--model")
    assert command[command.index("--engine") + 1] == "onnx"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpu_memory": 0.0}, "--gpu-memory is a share above 0 up to 1, not 0.0"),
        ({"gpu_memory": 1.5}, "not 1.5"),
        ({"dtype": "fp8"}, "--dtype 'fp8' is none of auto, bfloat16"),
        ({"max_model_len": 0}, "--max-model-len must be at least 1, not 0"),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    """Before any engine starts."""
    with pytest.raises(ConfigError, match=message):
        EngineOptions(**options)  # type: ignore[arg-type]
