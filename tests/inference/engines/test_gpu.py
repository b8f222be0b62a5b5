"""GPUs, as far as an engine's defaults go by them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sage.inference.engines.gpu import has_large_gpu, is_large


@pytest.mark.parametrize(
    ("listed", "large"),
    [
        ("NVIDIA H100 80GB HBM3, 81559\nNVIDIA L4, 23034\n", True),
        ("NVIDIA L4, 23034\nNVIDIA H100 80GB HBM3, 81559\n", False),
        ("NVIDIA A100-SXM4-80GB, 81920\n", False),
        ("NVIDIA GB10, [N/A]\n", False),
        ("", False),
    ],
)
def test_the_first_one_counts(listed: str, large: bool) -> None:
    """By its memory; an A100 is slower with large batches, so vLLM leaves it out."""
    assert is_large(listed) is large


def test_without_a_driver_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is run that is not there; one that fails is said."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not has_large_gpu()


@pytest.mark.parametrize(("code", "large"), [(0, True), (9, False)])
def test_the_driver_is_asked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
    large: bool,
) -> None:
    """When it fails, the choice made for the user is said."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho 'NVIDIA H200, 143771'\nexit {code}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert has_large_gpu() is large
    assert [record.levelname for record in caplog.records] == ([] if large else ["WARNING"])
