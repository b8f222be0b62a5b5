"""A small Llama with random weights, made on the spot: vLLM's real code path, no model hub.

Its words are noise; its shape, tokenizer and chat template are real, so that loading, batching,
streaming and token counts are those of any other model.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

HEAD_SIZE, VOCAB = 64, 4096
CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}</s>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def _tokenizer(corpus: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=VOCAB,
            special_tokens=["<unk>", "<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    return tokenizer


@dataclass(frozen=True)
class Shape:
    """How large the model is.

    Attributes:
        hidden: width, a multiple of 128.
        layers: how many.
    """

    hidden: int = 256
    layers: int = 4

    @property
    def heads(self) -> int:
        """Attention heads."""
        return self.hidden // HEAD_SIZE

    @property
    def feed_forward(self) -> int:
        """Width between."""
        return 3 * self.hidden


def _spoken(tokenizer: Tokenizer) -> np.ndarray:
    """Return which tokens are words: an answer of others would be empty text."""
    words = np.zeros((VOCAB, 1), np.float32)
    for text, number in tokenizer.get_vocab().items():
        words[number] = text.removeprefix("Ġ").isascii() and text.removeprefix("Ġ").isalpha()
    return words


def _weights(seed: int, shape: Shape, spoken: np.ndarray) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (random.standard_normal((rows, columns)) * 0.02).astype(np.float32)

    hidden, feed_forward = shape.hidden, shape.feed_forward
    kv = hidden // 2
    tensors = {
        "model.embed_tokens.weight": matrix(VOCAB, hidden),
        "model.norm.weight": np.ones(hidden, np.float32),
        # Tokens that are no words have a logit of 0, and some word is always above that.
        "lm_head.weight": matrix(VOCAB, hidden) * spoken,
    }
    for layer in range(shape.layers):
        prefix = f"model.layers.{layer}."
        tensors |= {
            f"{prefix}self_attn.q_proj.weight": matrix(hidden, hidden),
            f"{prefix}self_attn.k_proj.weight": matrix(kv, hidden),
            f"{prefix}self_attn.v_proj.weight": matrix(kv, hidden),
            f"{prefix}self_attn.o_proj.weight": matrix(hidden, hidden),
            f"{prefix}mlp.gate_proj.weight": matrix(feed_forward, hidden),
            f"{prefix}mlp.up_proj.weight": matrix(feed_forward, hidden),
            f"{prefix}mlp.down_proj.weight": matrix(hidden, feed_forward),
            f"{prefix}input_layernorm.weight": np.ones(hidden, np.float32),
            f"{prefix}post_attention_layernorm.weight": np.ones(hidden, np.float32),
        }
    return tensors


def make_tiny_llama(folder: Path, corpus: list[str], seed: int = 0, shape: Shape = Shape()) -> Path:
    """Write the model into ``folder`` as vLLM and transformers expect it; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(corpus)
    tokenizer.save(str(folder / "tokenizer.json"))
    weights = _weights(seed, shape, _spoken(tokenizer))
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads // 2,
        "intermediate_size": shape.feed_forward,
        "vocab_size": VOCAB,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "model_max_length": 2048,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(
        json.dumps(tokenizer_config, indent=2), encoding="utf-8"
    )
    return folder
