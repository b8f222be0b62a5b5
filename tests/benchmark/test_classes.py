"""Requests come in classes, each with a share, sizes and an SLO of its own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sage.benchmark.classes import (
    INTERACTIVE_AND_BULK,
    RequestClass,
    TrafficClass,
    check_classes,
    parse_class,
)
from sage.benchmark.config import (
    BenchmarkConfig,
    HybridBenchmarkConfig,
    LLMBenchmarkConfig,
    config_from,
)
from sage.benchmark.options import build_config
from sage.benchmark.workload import plan_requests
from sage.errors import ConfigError, UnknownKeyError
from sage.inference.scheduling.slo import SLO


def test_a_class_is_read_from_one_word() -> None:
    """As the flag has it; what is not named is left to the rest of the configuration."""
    text = "chat: share=0.7, ttft_ms=1000,tpot_ms=50,priority=-1,stream=false,prompt_tokens=32"
    assert parse_class(text) == RequestClass(
        name="chat",
        share=0.7,
        ttft_ms=1000.0,
        tpot_ms=50.0,
        priority=-1,
        stream=False,
        prompt_tokens="32",
    )
    embed = parse_class("index:traffic=embedding,e2e_ms=500,batch=uniform:1:8")
    assert (embed.traffic, embed.slo) == (TrafficClass.EMBEDDING, SLO(deadline_s=0.5))
    assert parse_class("plain") == RequestClass(name="plain")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (":share=1", "named ''"),
        ("all", "other than 'all'"),
        ("a:share", "'share' is not KEY=VALUE"),
        ("a:share=many", "share cannot be 'many'"),
        ("a:share=-1", "share is -1.0"),
        ("a:share=nan", "share is nan"),
        ("a:ttft_ms=0", "ttft_ms is 0.0; it must be a positive number"),
        ("a:stream=maybe", "stream cannot be 'maybe'"),
        ("a:traffic=video", "traffic cannot be 'video'"),
        ("a:batch=3", "batch has no meaning for chat requests"),
        ("a:traffic=embedding,ttft_ms=5", "ttft_ms has no meaning for embedding requests"),
        ("a:prompt_tokens=long", "class a, prompt_tokens: 'long'"),
    ],
)
def test_a_wrong_class_is_refused_with_what_is_wrong(text: str, says: str) -> None:
    """In one line that names class, key and value."""
    with pytest.raises(ConfigError, match=says) as caught:
        parse_class(text)
    assert "\n" not in str(caught.value)


def test_an_unknown_key_of_a_class_names_the_nearest() -> None:
    """On the command line and in a file, where the class's number is said."""
    with pytest.raises(UnknownKeyError, match="ttft_ms"):
        parse_class("a:tft_ms=5")
    data = {"classes": [{"name": "a"}, {"name": "b", "prioriti": 3}]}
    with pytest.raises(UnknownKeyError, match=r"classes 2.*priority"):
        config_from(data, "f.yaml")


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        ([RequestClass(name="a"), RequestClass(name="a")], "two classes are named 'a'"),
        ([RequestClass(name="a", share=0.0)], "shares are all 0"),
    ],
)
def test_classes_fit_together(classes: list[RequestClass], says: str) -> None:
    """Names differ, and something is asked for."""
    with pytest.raises(ConfigError, match=says):
        check_classes(classes)


def test_requests_are_drawn_by_share_with_what_their_class_says() -> None:
    """Two chat classes and one of embeddings, each of its own sizes and terms."""
    chat, bulk = INTERACTIVE_AND_BULK
    embed = parse_class("embed:share=1,traffic=embedding,e2e_ms=500,batch=4")
    config = HybridBenchmarkConfig(requests=4000, classes=(chat, bulk, embed), priorities=(0,))
    config.validate()
    requests = plan_requests(config)
    counts = Counter(request.cls for request in requests)
    for name, share in (("interactive", 0.35), ("bulk", 0.15), ("embed", 0.5)):
        assert counts[name] / 4000 == pytest.approx(share, abs=0.025)
    limits = {request.cls: request.slo for request in requests}
    assert limits["interactive"] == SLO(ttft_s=1.0, tpot_s=0.05)
    assert limits["bulk"] == SLO(ttft_s=20.0, tpot_s=0.2)
    assert {request.batch for request in requests if request.cls == "embed"} == {4}
    assert {request.output_tokens for request in requests if request.cls == "embed"} == {0}


def test_without_classes_the_slos_of_the_configuration_hold() -> None:
    """Chat and embeddings are then the classes, and no answer is asked for what is 0."""
    config = HybridBenchmarkConfig(requests=200)
    limits = {request.cls: request.slo for request in plan_requests(config)}
    assert set(limits) == {"chat", "embedding"}
    slo = config.slo
    assert limits["embedding"] == SLO(deadline_s=(slo.embedding_ms or 0) / 1000)
    none = build_config(None, "llm", {"slo_ttft_ms": 0.0, "slo_tpot_ms": 0.0, "slo_e2e_ms": 0.0})
    assert {request.slo for request in plan_requests(none)} == {None}


def test_flags_and_files_say_the_same(tmp_path: Path) -> None:
    """A class may be repeated as a flag or listed in a file."""
    path = tmp_path / "c.yaml"
    path.write_text(
        "classes:\n- {name: fast, share: 2, ttft_ms: 500}\n- {name: slow, share: 1}\n",
        encoding="utf-8",
    )
    of_file = build_config(path, None, {})
    of_flags = build_config(None, "llm", {"classes": ("fast:share=2,ttft_ms=500", "slow:share=1")})
    assert of_file == of_flags


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (
            lambda: LLMBenchmarkConfig(classes=(parse_class("e:traffic=embedding"),)),
            "class e is of embedding requests; use mode hybrid",
        ),
        (
            lambda: LLMBenchmarkConfig(trace="t.csv", classes=(parse_class("a:prompt_tokens=5"),)),
            "class a: prompt_tokens: the trace says that itself",
        ),
    ],
)
def test_a_class_that_the_rest_contradicts_is_refused(build: Any, says: str) -> None:
    """By the configuration's own check."""
    config: BenchmarkConfig = build()
    with pytest.raises(ConfigError, match=says):
        config.validate()
