"""Hugging Face transformers as the oracle: float32, eager attention. Called like oracle.logits."""

import copy

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM


def logits(config, weight, tokens):
    config = copy.deepcopy(config)  # transformers writes into the rope dictionaries
    kind = config.pop("model_type")
    made = AutoConfig.for_model(kind, **config, attn_implementation="eager")
    model = AutoModelForCausalLM.from_config(made, dtype=torch.float32).eval()
    tied = {"lm_head.weight"} if made.tie_word_embeddings else set()
    state = {name: torch.from_numpy(np.array(weight(name))) for name in model.state_dict().keys() - tied}
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or set(missing) - tied:
        raise ValueError(f"weights do not fit: {missing} missing, {unexpected} unknown")
    model.tie_weights()
    with torch.no_grad():
        return model(torch.tensor([tokens]), use_cache=False).logits[0].numpy().astype(np.float64)
