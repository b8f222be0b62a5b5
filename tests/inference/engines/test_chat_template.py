"""Tools for models whose own chat template has no place for them."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from sage.inference.engines.chat_template import with_tools
from sage.inference.engines.gguf import metadata_text
from sage.inference.engines.resolve import resolve_model
from sage.inference.scheduling.request import Kind

OWN = "{% for message in messages %}{{ message.content }}{% endfor %}"


def test_a_template_without_tools_is_led_in() -> None:
    """Its own text stays as it is, at the end."""
    led = with_tools(OWN)
    assert led is not None
    assert led.endswith(OWN)
    assert "<tool_call>" in led


@pytest.mark.parametrize("template", [None, "", "{{ messages }}{{ tools }}", "{{ prompt }}"])
def test_others_are_left_alone(template: str | None) -> None:
    """No template, one that knows tools, and one that is not for chats."""
    assert with_tools(template) is None


def test_a_text_of_the_metadata_is_found_behind_all_other_sorts(tmp_path: Path) -> None:
    """Numbers, arrays of texts, and a key that is not there."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    entries = [
        text("general.alignment") + struct.pack("<II", 4, 32),
        text("tokenizer.tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("bc"),
        text("tokenizer.chat_template") + struct.pack("<I", 8) + text(OWN),
    ]
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries)) + b"".join(entries))
    assert metadata_text(path, "tokenizer.chat_template") == OWN
    assert metadata_text(path, "general.alignment") is None
    assert metadata_text(path, "no.such.key") is None


@pytest.mark.engines
def test_the_packaged_models_template_needs_it() -> None:
    """That it then works is shown by the official clients' tests."""
    model = resolve_model(None, Kind.LLM).path
    assert model is not None
    assert with_tools(metadata_text(model, "tokenizer.chat_template")) is not None
