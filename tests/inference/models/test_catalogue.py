"""The table of packaged models."""

from __future__ import annotations

import pytest

from sage.errors import ModelNotFoundError
from sage.inference.models import DEFAULTS, catalogue, find, get


def test_names_and_aliases_are_unique() -> None:
    """No two models answer to one name."""
    names = [name.casefold() for model in catalogue() for name in (model.name, *model.aliases)]
    assert len(set(names)) == len(names)


def test_the_defaults_are_in_the_catalogue_with_their_kind() -> None:
    """What `serve` uses without a model can be installed."""
    for kind, name in DEFAULTS.items():
        assert get(name).kind is kind


def test_a_hub_id_finds_its_packaged_twin() -> None:
    """Users know models by their hub ids."""
    assert find("sentence-transformers/all-MiniLM-L6-v2") is get("all-minilm-l6-v2")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    """A typing error costs one line."""
    with pytest.raises(ModelNotFoundError, match="did you mean 'gemma-3-270m'"):
        get("gemma-3-270n")
    with pytest.raises(ModelNotFoundError, match="did you mean 'all-minilm-l6-v2'"):
        get("MiniML")
    with pytest.raises(ModelNotFoundError, match="there are: smollm2-135m-instruct, all-minilm"):
        get("quite-other")


def test_every_file_is_pinned() -> None:
    """Each file has its hash and size, and each wheel a version."""
    for model in catalogue():
        assert all(len(file.sha256) == 64 and file.size > 0 for file in model.files)
        assert all(wheel.version for wheel in model.wheels)
