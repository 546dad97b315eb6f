"""The torch peer of `compress-distill bench OPERATION`: the same shapes, dtypes, threads and sets of operands."""

import time

import torch
import torch.nn.functional as F
from protocol import serve
from torch.nn.attention import SDPBackend, sdpa_kernel

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
state = {}


def normal(shape, dtype):
    return torch.randn(shape).to(dtype)


def leaf(shape, dtype):
    return normal(shape, dtype).requires_grad_()


def spread(count, below):
    return torch.arange(1, count + 1).mul(2654435761).remainder(2**32).remainder(below)


def backward(output, leaves):
    """Only the backward pass is timed; the graph is kept."""
    upstream = torch.randn_like(output)
    return lambda: torch.autograd.grad(output, leaves, upstream, retain_graph=True)


def matmul(d, M, N, K):
    a, b, c = normal((M, K), d), normal((N, K), d), torch.empty(M, N, dtype=d)
    return lambda: torch.mm(a, b.t(), out=c)


def matmul_low_rank(d, M, N, K, R):
    a, b, inner, outer = normal((M, K), d), normal((N, K), d), normal((M, R), d), normal((N, R), d)
    return lambda: torch.addmm(torch.mm(a, b.t()), inner, outer.t(), alpha=0.5)


def quantised_matmul(d, M, N, K, block):
    return matmul(d, M, N, K)


def heads(d, B, L, H, D, make):
    return make((B, L, H, D), d).transpose(1, 2)


def attend(q, k, v, causal):
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1])


def at_its_best(make):
    """make() with the fastest of the attention kernels that a GPU has for it; on a CPU there is one."""
    if state["device"] == "cpu":
        return make()
    best, fastest = None, float("inf")
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION):
        try:
            with sdpa_kernel(backend):
                call = make()
                call()
            torch.cuda.synchronize()
            start = time.perf_counter()
            with sdpa_kernel(backend):
                for _ in range(3):
                    call()
            torch.cuda.synchronize()
        except RuntimeError:  # not for these shapes, or not in this torch
            continue
        if time.perf_counter() - start < fastest:
            fastest, best = time.perf_counter() - start, backend
    if best is None:
        return make()

    def run():
        with sdpa_kernel(best):
            call()

    with sdpa_kernel(best):
        call = make()
    return run


def attention(d, B, L, H, G, D):
    q, k, v = (heads(d, B, L, h, D, normal) for h in (H, G, G))
    return at_its_best(lambda: lambda: attend(q, k, v, True))


def attention_backward(d, B, L, H, G, D):
    leaves = [leaf((B, h, L, D), d) for h in (H, G, G)]
    return at_its_best(lambda: backward(attend(*leaves, True), leaves))


def paged_attention(d, B, C, Q, H, G, D):
    if Q != 1:
        raise ValueError("torch needs a mask for several new tokens after a context; compare with Q=1")
    q, k, v = normal((B, H, 1, D), d), normal((B, G, C, D), d), normal((B, G, C, D), d)
    return at_its_best(lambda: lambda: attend(q, k, v, False))


def linear_cross_entropy(d, T, E, V):
    hidden, weight, targets = leaf((T, E), d), leaf((V, E), d), spread(T, V)
    with torch.no_grad():
        weight.mul_(E**-0.5)

    def run():
        loss = F.cross_entropy(F.linear(hidden, weight).float(), targets)
        return torch.autograd.grad(loss, [hidden, weight])

    return run


def token_logprobs(d, T, E, V):
    hidden, weight, targets = normal((T, E), d), normal((V, E), d) * E**-0.5, spread(T, V)
    return lambda: F.cross_entropy(F.linear(hidden, weight).float(), targets, reduction="none")


def rms_norm(d, T, E):
    x, weight = normal((T, E), d), normal((E,), d)
    return lambda: F.rms_norm(x, (E,), weight, 1e-5)


def add_rms_norm(d, T, E):
    a, b, weight = normal((T, E), d), normal((T, E), d), normal((E,), d)
    return lambda: F.rms_norm(a + b, (E,), weight, 1e-5)


def rms_norm_backward(d, T, E):
    x, weight = leaf((T, E), d), leaf((E,), d)
    return backward(F.rms_norm(x, (E,), weight, 1e-5), [x, weight])


def rotary(d, T, H, D):
    x, cos, sin = normal((T, H, D), d), torch.full((T, 1, D), 0.7, dtype=d), torch.full((T, 1, D), 0.7, dtype=d)

    def run():
        first, second = x[..., : D // 2], x[..., D // 2 :]
        return x * cos + torch.cat((-second, first), dim=-1) * sin

    return run


def silu_mul(d, T, I):  # noqa: E741
    gate, up = normal((T, I), d), normal((T, I), d)
    return lambda: F.silu(gate) * up


def silu_mul_backward(d, T, I):  # noqa: E741
    gate, up = leaf((T, I), d), leaf((T, I), d)
    return backward(F.silu(gate) * up, [gate, up])


def embedding(d, T, E, V):
    table, ids = normal((V, E), d), spread(T, V)
    return lambda: F.embedding(ids, table)


def dropout(d, T, E):
    x = normal((T, E), d)
    return lambda: F.dropout(x, 0.05, training=True)


def sample(d, B, V, K, P, greedy):
    logits = torch.randn(B, V) * 3
    if greedy:
        return lambda: logits.argmax(-1)
    return lambda: torch.multinomial(logits.softmax(-1), 1)


def adamw(d, N, P):
    parameters = [torch.nn.Parameter(torch.randn(N)) for _ in range(P)]
    for parameter in parameters:
        parameter.grad = torch.randn(N)
    return torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.0, fused=True).step


def elementwise(function, inputs):
    def prepare(d, N):
        operands, y = [normal((N,), d) for _ in range(inputs)], torch.empty(N, dtype=d)
        return lambda: function(*operands, y)

    return prepare


PREPARE = {
    **{f.__name__: f for f in (matmul, matmul_low_rank, quantised_matmul, attention, attention_backward, paged_attention, linear_cross_entropy)},
    **{f.__name__: f for f in (token_logprobs, rms_norm, add_rms_norm, rms_norm_backward, rotary, silu_mul, silu_mul_backward)},
    **{f.__name__: f for f in (embedding, dropout, sample, adamw)},
    "fill": elementwise(lambda y: y.fill_(1), 0),
    "copy": elementwise(lambda x, y: y.copy_(x), 1),
    "add": elementwise(lambda a, b, y: torch.add(a, b, out=y), 2),
    "mul": elementwise(lambda a, b, y: torch.mul(a, b, out=y), 2),
    "exp": elementwise(lambda x, y: torch.exp(x, out=y), 1),
    "scale": elementwise(lambda x, y: torch.mul(x, 0.5, out=y), 1),
    "sum": elementwise(lambda x, y: x.sum(dtype=torch.float32), 1),
    "sum_squares": elementwise(lambda x, y: torch.linalg.vector_norm(x, dtype=torch.float32), 1),
}


def prepare(op, dtype, shape, threads, copies, device="cpu"):
    torch.set_num_threads(threads)
    if device != "cpu" and not torch.cuda.is_available():
        raise ValueError("torch sees no GPU")
    torch.set_default_device(device)
    state["device"] = device
    state["wait"] = torch.cuda.synchronize if device != "cpu" else lambda: None
    if op not in PREPARE:
        raise ValueError("torch has no counterpart")
    state["calls"] = [PREPARE[op](DTYPES[dtype], **shape) for _ in range(copies)]
    state["next"] = 0


def run(calls):
    """Seconds of a call, over so many."""
    works, at = state["calls"], state["next"]
    state["wait"]()
    start = time.perf_counter()
    for call in range(calls):
        works[(at + call) % len(works)]()
    state["wait"]()
    seconds = time.perf_counter() - start
    state["next"] = at + calls
    return seconds / calls


def release():
    """Gives back what `prepare` has made."""
    state.pop("calls", None)
    if state.get("device", "cpu") != "cpu":
        torch.cuda.empty_cache()
    return True


serve({"name": lambda: f"torch {torch.__version__}", "prepare": prepare, "run": run, "release": release})
