"""A small Llama with random weights, made on the spot: vLLM's real code path, no model hub.

Its words are noise; its shape, tokenizer and chat template are real, so that loading, batching,
streaming and token counts are those of any other model.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

HIDDEN, LAYERS, HEADS, KV_HEADS, FEED_FORWARD, VOCAB = 256, 4, 4, 2, 768, 4096
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


def _weights(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (random.standard_normal((rows, columns)) * 0.02).astype(np.float32)

    head_size = HIDDEN // HEADS
    tensors = {
        "model.embed_tokens.weight": matrix(VOCAB, HIDDEN),
        "model.norm.weight": np.ones(HIDDEN, np.float32),
        "lm_head.weight": matrix(VOCAB, HIDDEN),
    }
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        tensors |= {
            f"{prefix}self_attn.q_proj.weight": matrix(HIDDEN, HIDDEN),
            f"{prefix}self_attn.k_proj.weight": matrix(KV_HEADS * head_size, HIDDEN),
            f"{prefix}self_attn.v_proj.weight": matrix(KV_HEADS * head_size, HIDDEN),
            f"{prefix}self_attn.o_proj.weight": matrix(HIDDEN, HIDDEN),
            f"{prefix}mlp.gate_proj.weight": matrix(FEED_FORWARD, HIDDEN),
            f"{prefix}mlp.up_proj.weight": matrix(FEED_FORWARD, HIDDEN),
            f"{prefix}mlp.down_proj.weight": matrix(HIDDEN, FEED_FORWARD),
            f"{prefix}input_layernorm.weight": np.ones(HIDDEN, np.float32),
            f"{prefix}post_attention_layernorm.weight": np.ones(HIDDEN, np.float32),
        }
    return tensors


def make_tiny_llama(folder: Path, corpus: list[str], seed: int = 0) -> Path:
    """Write the model into ``folder`` as vLLM and transformers expect it; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _tokenizer(corpus).save(str(folder / "tokenizer.json"))
    save_file(_weights(seed), str(folder / "model.safetensors"), metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "intermediate_size": FEED_FORWARD,
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
