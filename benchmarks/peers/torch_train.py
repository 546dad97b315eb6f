"""The torch peer of training: transformers' model, peft's LoRA, torch's fused AdamW, one batch of documents of one length.

Documents of one length make a batch without padding, so that torch needs no packing and no mask: its best case.
"""

import contextlib
import os
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
import transformers  # noqa: E402
from protocol import serve  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
state = {}


def load(folder, gguf, precision, threads, documents, method, rank, dropout, learningRate, activationCheckpointing):  # noqa: N803
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf, dtype=dtype, attn_implementation="sdpa")
    model = model.to(dtype)
    model.config.use_cache = False
    said = {"torch": torch.__version__, "attention": "sdpa", "optimizer": f"AdamW, fused, {dtype}"}
    if method == "lora":
        import peft

        # autocast_adapter_dtype: adapters in f32, as ours are.
        config = peft.LoraConfig(r=rank, lora_alpha=rank, lora_dropout=dropout, target_modules=TARGETS)
        model = peft.get_peft_model(model, config, autocast_adapter_dtype=precision != "bf16")
        said["peft"] = peft.__version__
    if activationCheckpointing != "none":
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    state["model"] = model
    state["parameters"] = parameters
    state["optimizer"] = torch.optim.AdamW(parameters, lr=learningRate, weight_decay=0.0, fused=True)
    state["ids"] = torch.tensor(documents)
    state["autocast"] = precision == "autocast"
    return {**said, "trainable": sum(parameter.numel() for parameter in parameters)}


def step():
    ids = state["ids"]
    begin = time.perf_counter()
    autocast = torch.autocast("cpu", torch.bfloat16) if state["autocast"] else contextlib.nullcontext()
    with autocast:
        loss = state["model"](input_ids=ids, labels=ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state["parameters"], 1.0)
    state["optimizer"].step()
    state["optimizer"].zero_grad(set_to_none=True)
    return {"seconds": time.perf_counter() - begin, "loss": loss.item()}


serve({"name": lambda: f"torch {torch.__version__}", "load": load, "step": step})
