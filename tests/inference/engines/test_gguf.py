"""Telling a GGUF model from a file that is not one."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sage.config.paths import user_paths
from sage.errors import ModelFileError
from sage.inference.engines.gguf import check_gguf
from sage.inference.models import get, model_folder


def _text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def _entry(key: bytes, kind: int, value: bytes) -> bytes:
    return _text(key) + struct.pack("<I", kind) + value


def model(alignment: int = 32, dimensions: tuple[int, ...] = (64,)) -> bytes:
    """A whole model: every kind of metadata, and two tensors (one F32, one Q4_1)."""
    vocabulary = struct.pack("<IQ", 8, 2) + _text(b"one") + _text(b"two")
    entries = [
        _entry(b"general.architecture", 8, _text(b"llama")),
        _entry(b"general.alignment", 4, struct.pack("<I", alignment)),
        _entry(b"tokens", 9, vocabulary),
        _entry(b"scores", 9, struct.pack("<IQ2f", 6, 2, 0.5, 1.5)),
        _entry(b"flag", 7, b"\x01"),
    ]
    shape = struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
    tensors = [
        _text(b"a") + shape + struct.pack("<IQ", 0, 0),
        _text(b"b") + shape + struct.pack("<IQ", 3, 256),
    ]
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(entries))
    body = head + b"".join(entries) + b"".join(tensors)
    body += b"\0" * (-len(body) % (alignment or 1))
    return body + b"\1" * (256 + 40)


def _check(folder: Path, content: bytes, name: str = "m.gguf") -> None:
    path = folder / name
    path.write_bytes(content)
    check_gguf(path)


@pytest.mark.parametrize("alignment", [8, 32, 64])
def test_a_whole_model_passes(tmp_path: Path, alignment: int) -> None:
    """To the byte, at whatever alignment it was written."""
    _check(tmp_path, model(alignment))


@given(cut=st.integers(1, len(model()) - 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_model_cut_anywhere_is_told(tmp_path: Path, cut: int) -> None:
    """A download that broke off is found before an engine loads it, even in its last byte."""
    with pytest.raises(ModelFileError):
        _check(tmp_path, model()[:-cut])


def test_the_message_of_a_cut_model_has_both_lengths(tmp_path: Path) -> None:
    """Whoever reads it sees how much is missing."""
    whole = len(model())
    with pytest.raises(
        ModelFileError, match=rf"cut short: {whole - 1} bytes of at least {whole}; download"
    ):
        _check(tmp_path, model()[:-1])


@given(st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_raise_anything_but_our_own_error(tmp_path: Path, rest: bytes) -> None:
    """Whatever follows the magic bytes, the answer is one line."""
    with contextlib.suppress(ModelFileError):
        _check(tmp_path, struct.pack("<4sI", b"GGUF", 3) + rest)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html><body>404", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"GGUF\x03", "cut short"),
        (b"", "not a GGUF model"),
        (struct.pack("<4sIQQ", b"GGUF", 9, 5, 7), "version 9"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 0, 7), "no tensors"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 5, 7), "cut short"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 5, 1) + _entry(b"k", 99, b"x" * 64), "of type 99"),
        (model(dimensions=(2, 2, 2, 2, 2)), "5 dimensions"),
        (model(alignment=0), "aligned to 0"),
    ],
)
def test_each_way_of_not_being_one_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    """The usual ways a download goes wrong are told apart before an engine starts."""
    with pytest.raises(ModelFileError, match=message):
        _check(tmp_path, content)


def test_another_models_file_gets_the_way_to_name_it(tmp_path: Path) -> None:
    """A single file of a model of many files is not enough."""
    with pytest.raises(ModelFileError, match="give the folder that holds them"):
        _check(tmp_path, b"\x08\x07\x12\x07pytorch", "model.onnx")


@pytest.mark.engines
def test_the_packaged_model_ends_where_its_head_says(tmp_path: Path) -> None:
    """A real file: whole it passes, without its last byte it does not."""
    path = model_folder(get("smollm2"), user_paths()) / "model.gguf"
    check_gguf(path)
    with pytest.raises(ModelFileError, match="cut short"):
        _check(tmp_path, path.read_bytes()[:-1])
