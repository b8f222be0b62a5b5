"""llama.cpp's server as an engine process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from sage.config.paths import user_paths
from sage.errors import ConfigError, UnknownKeyError
from sage.inference.engines.llama_cpp import (
    apply_options,
    build_params,
    engine_options,
    parse_arguments,
)
from sage.inference.engines.resolve import resolve_model
from sage.inference.scheduling.request import Kind
from tests.support import wait_until

COMMAND = [sys.executable, "-m", "sage.inference.engines.llama_cpp"]
NEEDED = ["--model", "m.gguf", "--name", "m", "--port", "1"]


def test_flags_that_are_not_ours_are_llama_cpps() -> None:
    """`--key value`, `--key=value` and a bare `--key` are all understood."""
    words = ["--n-batch", "64", "--warmup=false", "--cont_batching", "--rope-freq-base", "-1"]
    assert engine_options(words) == {
        "n_batch": "64",
        "warmup": "false",
        "cont_batching": "true",
        "rope_freq_base": "-1",
    }


def test_a_word_without_its_option_is_refused() -> None:
    """Nothing is ignored."""
    with pytest.raises(ConfigError, match="'64' is no option"):
        engine_options(["64"])


def test_options_take_the_parameters_type() -> None:
    """Numbers, truth values and text arrive as what llama.cpp holds."""
    arguments, options = parse_arguments([*NEEDED, "--n_batch", "64", "--warmup", "off"])
    params = build_params(arguments, options)
    assert (params.n_batch, params.warmup) == (64, False)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_bach": "64"}, UnknownKeyError, "did you mean 'n_batch'"),
        ({"n_batch": "many"}, ConfigError, "option n_batch: 'many' is not int"),
        ({"warmup": "maybe"}, ConfigError, "write true or false"),
        ({"sampling": "x"}, ConfigError, "cannot be set from the command line"),
        ({"pooling_type": "meen"}, ConfigError, "one of .*LLAMA_POOLING_TYPE_MEAN"),
        ({"cpuparams.pol": "1"}, UnknownKeyError, "did you mean 'poll'"),
    ],
)
def test_wrong_options_are_named(
    options: dict[str, str], error: type[Exception], message: str
) -> None:
    """With the nearest name, or the type that is wanted."""
    import xllamacpp

    with pytest.raises(error, match=message):
        apply_options(xllamacpp.CommonParams(), options)


def test_a_length_limit_bounds_each_request_exactly() -> None:
    """--max-model-len caps each slot; the pool is shared and holds them all."""
    arguments, options = parse_arguments([*NEEDED, "--max-model-len", "512", "--slots", "4"])
    params = build_params(arguments, options)
    assert (params.n_ctx, params.n_parallel, params.kv_unified) == (2048, 4, True)
    assert params.kv_unified_per_slot == 512


def test_groups_and_enumerations_can_be_set() -> None:
    """`--a.b` reaches into a group; an enumeration takes the member's last word."""
    words = ["--pooling-type", "mean", "--cpuparams.poll", "0", "--threads", "3"]
    params = build_params(*parse_arguments([*NEEDED, *words]))
    assert params.pooling_type.name == "LLAMA_POOLING_TYPE_MEAN"
    assert (params.cpuparams.poll, params.cpuparams.n_threads) == (0, 3)


def test_a_file_that_is_no_model_is_one_line(tmp_path: Path) -> None:
    """The process ends with the error as its last word."""
    path = tmp_path / "m.gguf"
    path.write_bytes(b"<html>")
    result = subprocess.run(
        [*COMMAND, "--model", str(path), "--name", "m", "--port", "1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 3
    assert result.stderr.startswith(f"error: {path} is not a GGUF model")


@pytest.mark.engines
@pytest.mark.parametrize("cut", [False, True], ids=["unknown", "cut short"])
def test_a_model_that_cannot_be_loaded_is_one_line(tmp_path: Path, cut: bool) -> None:
    """Cut short, our own check says so; of an architecture nobody knows, loading does."""
    whole = resolve_model(None, Kind.LLM).path
    assert whole is not None
    content = whole.read_bytes()
    path = tmp_path / "bad.gguf"
    path.write_bytes(content[:5_000_000] if cut else content.replace(b"llama", b"lemur", 1))
    result = subprocess.run(
        [*COMMAND, "--model", str(path), "--name", "m", "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
    )
    said = f"error: {path} is cut short" if cut else f"error: llama.cpp cannot load {path}"
    assert result.returncode == (3 if cut else 4)
    assert said in result.stderr.splitlines()[-1]


@pytest.fixture
def engine(free_port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that serves the packaged model on the free port, ready to be asked."""
    model = resolve_model(None, Kind.LLM, paths=user_paths())
    process = subprocess.Popen(
        [*COMMAND, "--model", model.source, "--name", model.name, "--port", str(free_port)],
        stderr=subprocess.DEVNULL,
    )

    def ready() -> bool:
        try:
            return httpx2.get(f"http://127.0.0.1:{free_port}/health", trust_env=False).is_success
        except httpx2.TransportError:
            return False

    try:
        wait_until(ready, 30)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.engines
def test_it_serves_under_its_name_and_ends_on_sigterm(
    engine: subprocess.Popen[bytes], free_port: int
) -> None:
    """The OpenAI routes answer, concurrent requests share a batch, SIGTERM is a clean end."""
    url = f"http://127.0.0.1:{free_port}"
    with httpx2.Client(base_url=url, trust_env=False, timeout=30) as client:
        models = client.get("/v1/models").json()["data"]
        assert models[0]["id"] == resolve_model(None, Kind.LLM, paths=user_paths()).name
        answer = client.post(
            "/v1/chat/completions",
            json={
                "messages": [
                    {
                        "role": "user",
                        "content": "Context: The bridge was finished in 1932.\n\n"
                        "Question: When was the bridge finished?",
                    }
                ],
                "max_tokens": 32,
                "temperature": 0.0,
            },
        ).json()
        assert "1932" in answer["choices"][0]["message"]["content"]
        assert answer["usage"]["prompt_tokens"] > 20
    engine.terminate()
    assert engine.wait(timeout=10) == 0


@pytest.mark.engines
def test_it_ends_on_sigterm_in_the_middle_of_an_answer(
    engine: subprocess.Popen[bytes], free_port: int
) -> None:
    """It does not wait for whoever asks: the connection is closed, so that they know."""
    request = {
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 4000,
        "ignore_eos": True,
        "stream": True,
    }
    url = f"http://127.0.0.1:{free_port}/v1/chat/completions"
    with httpx2.stream("POST", url, json=request, trust_env=False, timeout=30) as answer:
        lines = answer.iter_lines()
        next(lines)
        engine.terminate()
        assert engine.wait(timeout=10) == 0
        with pytest.raises(httpx2.TransportError):
            list(lines)
