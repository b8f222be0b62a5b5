"""One pipeline of each kind with the real engines."""

from __future__ import annotations

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


def nearest(asked: dict[str, Any], known: list[dict[str, Any]]) -> dict[str, Any]:
    """The document whose vector points most the same way."""

    def likeness(document: dict[str, Any]) -> float:
        pairs = zip(document["embedding"], asked["embedding"], strict=True)
        return sum(one * other for one, other in pairs)

    return max(known, key=likeness)


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

    def run() -> tuple[list[Any], list[Any], list[dict[str, int]]]:
        env = LocalEnvironment("engines")
        vectors: list[Any] = []
        env.from_collection([*documents, *({"text": each} for each in questions)]).embed(
            field="text", client=engines, cache=tmp_path / "cache.sqlite"
        ).sink(vectors.append)
        first = env.submit(autostop=True)
        *known, bread, lighthouse = vectors
        pairs = [
            {"question": asked["text"], "context": nearest(asked, known)["text"]}
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
        return (
            vectors,
            answers,
            [
                first.operator("embed").metrics,
                second.operator("llm").metrics,
            ],
        )

    vectors, answers, (embedded, asked) = run()
    assert [len(each["embedding"]) for each in vectors] == [384] * 5
    assert [each["context"] for each in answers] == [documents[2]["text"], documents[0]["text"]]
    assert all(each["answer"] for each in answers)
    assert asked["requests"] == 2
    assert asked["prompt_tokens"] > 20
    assert 2 <= asked["completion_tokens"] <= 48
    assert (embedded["requests"], embedded["texts"]) == (1, 5)
    assert run() == (vectors, answers, [{"cached": 5}, {"cached": 2}])
