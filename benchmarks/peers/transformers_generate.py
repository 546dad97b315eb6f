"""The transformers peer: greedy `generate` in static batches, prompts of similar length together, padded on the left."""

import os
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
import transformers  # noqa: E402
from protocol import serve  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
state = {}


def load(folder, gguf, dtype, threads, batch):
    torch.set_num_threads(threads)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf, dtype=dtype, attn_implementation="sdpa")
    model = model.to(dtype).eval()
    # Nothing but the length ends a request.
    model.generation_config = transformers.GenerationConfig(do_sample=False, pad_token_id=0, eos_token_id=None)
    model.config.eos_token_id = None
    state.update(model=model, batch=batch)
    return {"torch": torch.__version__, "attention": "sdpa", "parameters": model.num_parameters()}


def complete(prompts, outputs):
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    new = max(outputs)
    result = state["model"].generate(ids, attention_mask=mask, max_new_tokens=new, use_cache=True)
    if result.shape[1] != longest + new:
        raise RuntimeError(f"expected {new} new tokens but received {result.shape[1] - longest}")
    return [row[longest : longest + output].tolist() for row, output in zip(result, outputs)]


@torch.inference_mode()
def generate(prompts, outputs):
    tokens = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: (outputs[i], len(prompts[i])))
    start = time.perf_counter()
    for first in range(0, len(order), state["batch"]):
        chosen = order[first : first + state["batch"]]
        for i, row in zip(chosen, complete([prompts[i] for i in chosen], [outputs[i] for i in chosen])):
            tokens[i] = row
    return {"seconds": time.perf_counter() - start, "tokens": tokens}


serve({"name": lambda: f"transformers {transformers.__version__}", "load": load, "generate": generate})
