"""The quick start: real models answer questions over a text file, by two small pipelines.

    python examples/quickstart.py [--once] [--file FILE] [--question QUESTION ...]

The first pipeline reads the file, splits it into passages and embeds them; the second embeds each
question, finds the passages nearest to it and lets the LLM answer from them. The models are served
by this process (`running_stack`) until Ctrl-C, on the same ports as `sage llm serve`.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sage import (
    JobResult,
    LocalEnvironment,
    MapFunction,
    SageError,
    StackConfig,
    UnifiedInferenceClient,
    running_stack,
)

TEXT = Path(__file__).parent / "data" / "eddystone.txt"
QUESTIONS = [
    "Who built the first tower?",
    "How old was Henry Hall?",
    "What did the doctor find in the stomach?",
    "Which engineer called himself the first civil engineer?",
    "What did Smeaton need for the joints?",
    "How high is the fourth tower?",
    "What is the light powered by?",
]
INSTRUCTION = "Answer the question in one short sentence, using only the context."


@dataclass(frozen=True)
class Passage:
    """A piece of the text and its vector."""

    text: str
    vector: list[float]


@dataclass(frozen=True)
class Answer:
    """What the LLM said to a question, and what it took."""

    question: str
    text: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float


def paragraphs(path: Path) -> Iterator[str]:
    """Yield the paragraphs of a text file."""
    with path.open(encoding="utf-8") as file:
        for paragraph in file.read().split("\n\n"):
            if paragraph.strip():
                yield " ".join(paragraph.split())


def sentence_pairs(paragraph: str) -> Iterator[str]:
    """Split a paragraph into passages of two sentences: short prompts, precise matches."""
    sentences = re.split(r"(?<=[.!?])\s+", paragraph)
    for start in range(0, len(sentences), 2):
        yield " ".join(sentences[start : start + 2])


class Embed(MapFunction):
    """Gives each passage its vector; replicas' requests are batched by the engine."""

    def __init__(self, client: UnifiedInferenceClient, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.client = client

    def execute(self, text: str) -> Passage:
        return Passage(text, self.client.embed(text))


class Respond(MapFunction):
    """Finds the passages nearest to a question and asks the LLM with them as context.

    One passage by default: a model of this size mixes up two.
    """

    def __init__(
        self,
        client: UnifiedInferenceClient,
        passages: list[Passage],
        nearest: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.client = client
        self.passages = passages
        self.nearest = nearest

    def execute(self, question: str) -> Answer:
        started = time.perf_counter()
        vector = self.client.embed(question)
        ranked = sorted(self.passages, key=lambda passage: -similarity(vector, passage.vector))
        context = "\n".join(passage.text for passage in ranked[: self.nearest])
        result = self.client.chat(
            [
                {"role": "system", "content": INSTRUCTION},
                {"role": "user", "content": f"Context:\n{context}\n\nQuestion: {question}"},
            ],
            max_tokens=48,
            temperature=0.0,
            return_result=True,
        )
        return Answer(
            question,
            result.text.strip(),
            result.prompt_tokens or 0,
            result.completion_tokens or 0,
            time.perf_counter() - started,
        )


def similarity(left: list[float], right: list[float]) -> float:
    """Return the cosine of two vectors; the embedding engine gives them at length one."""
    return sum(a * b for a, b in zip(left, right, strict=True))


def index(client: UnifiedInferenceClient, path: Path) -> tuple[JobResult, list[Passage]]:
    """Read, split and embed a text file."""
    passages: list[Passage] = []
    env = LocalEnvironment("index")
    (
        env.from_collection(paragraphs(path), name="read")
        .flatmap(sentence_pairs, name="split")
        .map(Embed(client), name="embed", parallelism=8)
        .sink(passages.append, name="index")
    )
    return env.submit(autostop=True), passages


def answer(
    client: UnifiedInferenceClient, passages: list[Passage], questions: list[str]
) -> tuple[JobResult, list[Answer]]:
    """Answer questions from the passages, four at a time."""
    answers: list[Answer] = []
    env = LocalEnvironment("answers")
    (
        env.from_collection(questions, name="questions")
        .map(Respond(client, passages), name="answer", parallelism=4)
        .sink(answers.append, name="collect")
    )
    return env.submit(autostop=True), answers


def show(answers: list[Answer], questions: list[str]) -> None:
    """Print the answers in the order of the questions."""
    for one in sorted(answers, key=lambda one: questions.index(one.question)):
        print(f"\n  Q  {one.question}")
        print(textwrap.fill(one.text, 78, initial_indent="  A  ", subsequent_indent="     "))
        print(
            f"     {one.prompt_tokens} tokens in, {one.completion_tokens} out, {one.seconds:.2f} s"
        )


def run(path: Path, questions: list[str], *, once: bool) -> None:
    """Serve, index, answer, and serve on until interrupted."""
    started = time.perf_counter()
    print("starting the engines …")
    with running_stack(StackConfig()) as stack:
        print(f"serving at {stack.gateway_url}/v1 after {time.perf_counter() - started:.1f} s")
        with UnifiedInferenceClient.create(control_plane_url=f"{stack.gateway_url}/v1") as client:
            indexed, passages = index(client, path)
            answered, answers = answer(client, passages, questions)
        show(answers, questions)
        tokens = sum(one.completion_tokens for one in answers)
        print(f"\n{indexed.summary()}")
        print(f"{answered.summary()}, {tokens} tokens generated")
        print(
            "The packaged LLM has 135M parameters and errs; `sage llm serve --model` takes others."
        )
        if not once:
            print(f"\nserving at {stack.gateway_url}/v1 until Ctrl-C; try it:")
            print(f"  curl {stack.gateway_url}/v1/models")
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
            print("\nstopping")


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--once", action="store_true", help="stop after the answers")
    parser.add_argument("--file", type=Path, default=TEXT, help="the text to ask about")
    parser.add_argument("--question", action="append", help="a question; may be repeated")
    arguments = parser.parse_args()
    if not arguments.file.is_file():
        sys.exit(f"error: there is no file {arguments.file}")
    try:
        run(arguments.file, arguments.question or QUESTIONS, once=arguments.once)
    except SageError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
