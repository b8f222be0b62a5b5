"""``sage-cp-bench calibrate`` against a server."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from sage.benchmark.simulate.profile import EmbeddingProfile, LlmProfile, load_profile
from tests.benchmark.server import Answer, TinyServer, encode_event, event
from tests.documents import code_blocks

SMALL = ("--longest", "64", "--batches", "1,2", "--repeats", "1")


async def streaming(number: int, body: dict[str, Any], answer: Answer) -> None:
    """Answer token by token, and count a word as a token."""
    answer.begin()
    for _ in range(body["max_tokens"]):
        await asyncio.sleep(0.002)
        answer.tokens("a")
    words = len(body["messages"][0]["content"].split())
    usage = {"prompt_tokens": words + 5, "completion_tokens": body["max_tokens"]}
    answer.writer.write(event(finish="length"))
    answer.writer.write(encode_event({"choices": [], "usage": usage}))
    answer.writer.write(encode_event(b"[DONE]") + b"0\r\n\r\n")


def test_the_file_is_a_profile_of_the_engine(
    bench: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With its limits, the errors that were printed, and every measurement."""
    out = tmp_path / "engine.json"
    with TinyServer(streaming) as server:
        server.pages = {
            "/props": {"total_slots": 2, "default_generation_settings": {"n_ctx": 4096}}
        }
        line = ("calibrate", "--url", server.url, "--out", str(out), "--kv-tokens", "5000")
        assert bench(*line, *SMALL) == 0
        asked = len(server.bodies)
    said = capsys.readouterr().out
    assert "longest gap of the streams" in said
    assert "assumed: block_size, max_num_batched_tokens" in said
    profile = load_profile(str(out))
    assert isinstance(profile, LlmProfile)
    assert (profile.capacity.max_num_seqs, profile.capacity.num_gpu_blocks) == (2, 5000)
    assert not profile.preempts
    assert profile.times.decode_ms(1) > 0
    document = json.loads(out.read_text())
    assert document["meta"]["engine"] == "llama.cpp"
    assert document["meta"]["client_machine"]["cores"] > 0
    assert len(document["errors"]) == 5
    probed = sum(len(take["requests"]) for take in document["measurements"])
    assert probed + 2 == asked  # two more were for warming up
    simulation = ("simulate", "--profile", str(out), "--engines", "1", "--requests", "20")
    assert bench(*simulation, "--rate", "20", "--prompt-tokens", "32") == 0


def test_the_pages_lines_work(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand in docs/calibrate.md, but for the server's address and how long they take."""
    monkeypatch.chdir(tmp_path)
    lines = [shlex.split(line) for line in code_blocks("docs/calibrate.md")[0].text.splitlines()]
    measure, simulate = (line[1:] for line in lines if line[0] == "sage-cp-bench")
    with TinyServer(streaming) as server:
        measure[measure.index("--url") + 1] = server.url
        assert bench(*measure, *SMALL) == 0
    assert bench(*simulate, "--requests", "20", "--prompt-tokens", "32") == 0


async def embedding(number: int, body: dict[str, Any], answer: Answer) -> None:
    """Embed each text, in a time that grows with their words."""
    words = sum(len(text.split()) for text in body["input"])
    await asyncio.sleep(0.001 + words * 2e-6)
    answer.json(
        {
            "data": [{"embedding": [0.5]} for _ in body["input"]],
            "usage": {"prompt_tokens": words + 2 * len(body["input"])},
        }
    )


def test_an_embedding_engines_file_is_its_profile(
    bench: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With the limits that were given, and a note of those that were chosen."""
    out = tmp_path / "embedding.json"
    line = ("calibrate", "--kind", "embedding", "--out", str(out), "--repeats", "1")
    with TinyServer(embedding) as server:
        assert bench(*line, "--url", server.url, "--longest", "64", "--workers", "2") == 0
    said = capsys.readouterr().out
    assert "chosen, as what fits best: max_tokens" in said
    assert "time of one call of many" in said
    profile = load_profile(str(out))
    assert isinstance(profile, EmbeddingProfile)
    assert profile.workers == 2
    assert json.loads(out.read_text())["meta"]["chosen_by_fit"] == ["max_tokens", "by_length"]


async def dying(number: int, body: dict[str, Any], answer: Answer) -> None:
    """Answer a few, and then close the connection in the middle of a stream."""
    if number < 5:
        await streaming(number, body, answer)
        return
    answer.begin()
    answer.tokens("a")
    answer.writer.close()


async def silent_on_usage(number: int, body: dict[str, Any], answer: Answer) -> None:
    """Stream well, but tell no usage."""
    answer.begin()
    answer.tokens(*("a" * body["max_tokens"]))
    answer.end()


async def in_blocks(number: int, body: dict[str, Any], answer: Answer) -> None:
    """Send all tokens in one event."""
    answer.begin()
    answer.tokens("a" * body["max_tokens"])
    answer.end(tokens=body["max_tokens"])


async def short(number: int, body: dict[str, Any], answer: Answer) -> None:
    """End before the length that was asked for."""
    answer.quick()


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (dying, "the engine failed a probe of 16 tokens: disconnected"),
        (silent_on_usage, "streams tell no usage"),
        (in_blocks, "sent 4 tokens in 1 events"),
        (short, "ended an answer after 2 of 4 tokens"),
    ],
)
def test_an_engine_that_cannot_be_measured_is_one_line(
    bench: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, handler: Any, said: str
) -> None:
    """And no file is written."""
    out = tmp_path / "engine.json"
    with TinyServer(handler) as server:
        assert bench("calibrate", "--url", server.url, "--out", str(out), *SMALL) == 5
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in error
    assert not out.exists()


def test_scipy_is_asked_for_before_anything_is_measured(
    bench: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the extra that brings it."""
    monkeypatch.setitem(sys.modules, "scipy", None)
    with TinyServer(streaming) as server:
        assert bench("calibrate", "--url", server.url, "--out", "p.json") == 2
        assert not server.bodies
    assert "pip install 'sage-stack[bench]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--out", "nowhere/p.json"), "there is no folder"),
        (("--out", "p.json", "--batches", "1,x"), "write whole numbers"),
        (("--out", "p.json", "--longest", "3"), "longest is 3"),
        (("--out", "p.json"), "does not answer"),
        (("--out", "p.json", "--kind", "embedding"), "does not answer"),
        (("--out", "p.json", "--kind", "embedding", "--longest", "8"), "longest is 8"),
        (("--out", "p.json", "--kind", "embedding", "--batches", "1"), "not for engines of kind"),
        (("--out", "p.json", "--workers", "2"), "--workers is not for engines of kind llm"),
    ],
)
def test_wrong_flags_are_one_line(
    bench: Any, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], said: str
) -> None:
    """Before anything is sent."""
    assert bench("calibrate", "--url", "http://127.0.0.1:1", *flags) == 2
    assert said in capsys.readouterr().err
