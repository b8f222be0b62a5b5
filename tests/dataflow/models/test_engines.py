"""One pipeline of each kind with the real engines."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sage.dataflow import LocalEnvironment
from sage.inference.client import UnifiedInferenceClient


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Iterator[UnifiedInferenceClient]:
    """The packaged models in this process."""
    # The path of a socket is short; a test's own folder is not.
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with UnifiedInferenceClient.create(embedded=True) as client:
        yield client
    shutil.rmtree(folder)


@pytest.mark.engines
@pytest.mark.timeout(180)
def test_both(engines: UnifiedInferenceClient, tmp_path: Path) -> None:
    """Documents are embedded, the nearest is asked about, and a second run asks nothing."""
    documents = [
        {"id": 1, "text": "The lighthouse on the rock was built by John Smeaton."},
        {"id": 2, "text": "Stock prices fell sharply on Monday."},
        {"id": 3, "text": "Bread is made of flour, water, salt and yeast."},
    ]
    questions = ["What is bread made of?", "Who built the lighthouse?"]

    def run() -> tuple[list[Any], list[Any], dict[str, dict[str, int]]]:
        env = LocalEnvironment("engines")
        vectors: list[Any] = []
        env.from_collection([*documents, *({"text": each} for each in questions)]).embed(
            field="text", client=engines, cache=tmp_path / "cache.sqlite"
        ).sink(vectors.append)
        first = env.submit(autostop=True)
        *known, bread, lighthouse = vectors
        pairs = [
            {
                "question": asked["text"],
                "context": max(
                    known,
                    key=lambda d: (
                        math.sumprod(d["embedding"], asked["embedding"])
                        if hasattr(math, "sumprod")
                        else sum(map(float.__mul__, d["embedding"], asked["embedding"]))
                    ),
                )["text"],
            }
            for asked in (bread, lighthouse)
        ]
        second_env = LocalEnvironment("answers")
        answers: list[Any] = []
        second_env.from_collection(pairs).llm(
            "{context}\n\n{question}",
            client=engines,
            temperature=0.0,
            max_tokens=24,
            cache=tmp_path / "cache.sqlite",
        ).sink(answers.append)
        second = second_env.submit(autostop=True)
        metrics = {
            "embed": second_metrics(first, "embed"),
            "llm": second_metrics(second, "llm"),
        }
        return vectors, answers, metrics

    def second_metrics(result: Any, name: str) -> dict[str, int]:
        metrics: dict[str, int] = result.operator(name).metrics
        return metrics

    vectors, answers, metrics = run()
    assert [len(each["embedding"]) for each in vectors] == [384] * 5
    assert [each["context"] for each in answers] == [documents[2]["text"], documents[0]["text"]]
    assert all(each["answer"] for each in answers)
    assert metrics["llm"]["requests"] == 2
    assert metrics["llm"]["prompt_tokens"] > 20
    assert 2 <= metrics["llm"]["completion_tokens"] <= 48
    assert (metrics["embed"]["requests"], metrics["embed"]["texts"]) == (1, 5)
    again = run()
    assert again[:2] == (vectors, answers)
    assert again[2] == {"embed": {"cached": 5}, "llm": {"cached": 2}}
