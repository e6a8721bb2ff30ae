"""The ceilings and the rivals of `gpu-bench`, in torch on the same GPU: a JSON object a line, as gpu-bench prints them.

    python3 rivals.py [PART]      works whose names contain PART

Needs torch with CUDA; the fused cross-entropy needs triton, which comes with it. Each form is written from its
definition: det G and the form without a determinant (arXiv 2412.11959), the edit-invariant loss (arXiv 2106.15078).
Times are those of CUDA events, the median of 20 rounds over four copies of the inputs. It has not run on hardware yet.
"""

import json
import sys

import torch
import torch.nn.functional as F

COPIES, ROUNDS = 4, 20


def measured(work, inputs):
    """The times in ms of `work` on each input in turn, sorted."""
    for x in inputs:
        work(x)
    times = []
    for r in range(ROUNDS):
        first, second = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        work(inputs[r % len(inputs)])
        second.record()
        second.synchronize()
        times.append(first.elapsed_time(second))
    return sorted(times)


def copies(*shape, dtype=torch.float32):
    return [torch.randn(*shape, device="cuda", dtype=dtype) for _ in range(COPIES)]


def copy():
    n = 1 << 26
    to = torch.empty(n, device="cuda")
    times = measured(to.copy_, copies(n))
    return {"work": "copy, 268 MB", "gb_s": 8 * n / times[len(times) // 2] / 1e6}, times


def matmul(dtype, tf32):
    def run():
        torch.backends.cuda.matmul.allow_tf32 = tf32
        b, d, m = 8192, 512, 2
        anchors = torch.randn(b, d, device="cuda", dtype=dtype)
        times = measured(lambda q: anchors @ q.T, copies(b * m, d, dtype=dtype))
        torch.backends.cuda.matmul.allow_tf32 = False
        rate = 2 * b * b * m * d / times[len(times) // 2] / 1e9
        name = "TF32" if tf32 else str(dtype).removeprefix("torch.")
        return {"work": f"product {b} x {d} x {b * m}, {name}", "tflop_s": rate}, times

    return run


def determinant_volumes(x):
    """sqrt|det G| of anchor i with item j, all k x k Gram matrices stored; x is [k, B, D]."""
    a, items = x[0], x[1:]
    b, k = a.shape[0], x.shape[0]
    g = torch.empty(b, b, k, k, device=x.device, dtype=x.dtype)
    g[:, :, 0, 0] = (a * a).sum(-1)[:, None]
    for p, o in enumerate(items, 1):
        g[:, :, 0, p] = g[:, :, p, 0] = a @ o.T
        for q, o2 in enumerate(items, 1):
            g[:, :, p, q] = (o * o2).sum(-1)[None, :]
    return torch.sqrt(torch.abs(torch.linalg.det(g)) + 1e-12)


def volumes(x):
    """vol_j * sqrt(|a|^2 - |Q_j a|^2): no determinant."""
    a, items = x[0], x[1:]
    rows, vol = [], 1.0
    for o in items:
        for q in rows:
            o = o - (o * q).sum(-1, keepdim=True) * q
        norm = o.norm(dim=-1, keepdim=True)
        vol = vol * norm[:, 0]
        rows.append(o / norm)
    left = (a * a).sum(-1)[:, None] - sum((a @ q.T) ** 2 for q in rows)
    return vol[None, :] * torch.sqrt(left.clamp_min(1e-12))


def contrastive(form):
    def loss(x):
        l = -form(F.normalize(x, dim=-1)) / 0.07
        target = torch.arange(l.shape[0], device=l.device)
        ce = lambda l: F.cross_entropy(l, target, label_smoothing=0.1)
        return (ce(l) + ce(l.T)) / 2

    return loss


def gram(name, form, compiled, tf32=False):
    def run():
        b, k, d = 4096, 3, 512
        torch.backends.cuda.matmul.allow_tf32 = tf32
        loss = contrastive(form)
        loss = torch.compile(loss) if compiled else loss

        def step(x):
            x.grad = None
            loss(x).backward()

        inputs = [x.requires_grad_() for x in copies(k, b, d)]
        step(inputs[0])
        torch.cuda.synchronize()
        # Besides the inputs, and one gradient, as long as one input.
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        times = measured(step, inputs)
        extra = torch.cuda.max_memory_allocated() - before - (COPIES - 1) * inputs[0].nbytes
        torch.backends.cuda.matmul.allow_tf32 = False
        precision = "TF32" if tf32 else "f32"
        work = f"GRAM loss forward and backward, B={b}, k={k}, D={d}, {precision}, {name}"
        return {"work": work, "extra_mb": extra / 1e6}, times

    return run


def cross_entropy():
    rows, v = 32 * 128, 32000
    target = torch.randint(v, (rows,), device="cuda")

    def step(x):
        x.grad = None
        F.cross_entropy(x, target).backward()

    inputs = [x.requires_grad_() for x in copies(rows, v)]
    return {"work": f"cross-entropy forward and backward, {rows} x {v}, f32"}, measured(step, inputs)


def eisl():
    b, t, u, v = 32, 128, 128, 32000
    target = torch.randint(v, (b, u), device="cuda")

    def loss(x):
        lse = torch.logsumexp(x, -1)
        index = target[:, None, :].expand(b, t, u)
        s = (x.gather(-1, index) - lse[..., None]).clamp_min(-20.0)
        total, diagonal = 0.0, s
        for n in range(1, 5):
            if n > 1:
                diagonal = diagonal[:, :-1, :-1] + s[:, n - 1 :, n - 1 :]
            score = diagonal / n
            total = total - (torch.softmax(score, 1) * score).sum(1).mean() / 4
        return total

    def step(x):
        x.grad = None
        loss(x).backward()

    inputs = [x.requires_grad_() for x in copies(b, t, v)]
    return {"work": f"EISL n=1..4 forward and backward, B={b}, T={t}, V={v}, f32, gather and diagonals"}, measured(step, inputs)


def fused_cross_entropy():
    import triton
    import triton.language as tl

    @triton.jit
    def kernel(x_ptr, target_ptr, loss_ptr, v, BLOCK: tl.constexpr):
        row = tl.program_id(0).to(tl.int64)
        x_ptr += row * v
        target = tl.load(target_ptr + row)
        top, total = -float("inf"), 0.0
        for start in range(0, v, BLOCK):
            at = start + tl.arange(0, BLOCK)
            x = tl.load(x_ptr + at, mask=at < v, other=-float("inf"))
            new = tl.maximum(top, tl.max(x, 0))
            total = total * tl.exp(top - new) + tl.sum(tl.exp(x - new), 0)
            top = new
        lse = top + tl.log(total)
        tl.store(loss_ptr + row, lse - tl.load(x_ptr + target))
        for start in range(0, v, BLOCK):
            at = start + tl.arange(0, BLOCK)
            x = tl.load(x_ptr + at, mask=at < v, other=-float("inf"))
            g = tl.exp(x - lse) - tl.where(at == target, 1.0, 0.0)
            tl.store(x_ptr + at, g, mask=at < v)

    rows, v = 32 * 128, 32000
    target = torch.randint(v, (rows,), device="cuda")
    loss = torch.empty(rows, device="cuda")
    times = measured(lambda x: kernel[(rows,)](x, target, loss, v, BLOCK=4096), copies(rows, v))
    rate = 12 * rows * v / times[len(times) // 2] / 1e6
    return {"work": f"cross-entropy in place, {rows} x {v}, f32, Triton", "gb_s": rate}, times


WORKS = {
    "copy": copy,
    "product TF32": matmul(torch.float32, True),
    "product bf16": matmul(torch.bfloat16, False),
    "product f32": matmul(torch.float32, False),
    "gram determinant": gram("determinant form", determinant_volumes, False),
    "gram determinant-free": gram("determinant-free form", volumes, False),
    "gram determinant-free compiled": gram("determinant-free form, compiled", volumes, True),
    "gram determinant TF32": gram("determinant form", determinant_volumes, False, True),
    "gram determinant-free compiled TF32": gram("determinant-free form, compiled", volumes, True, True),
    "cross-entropy": cross_entropy,
    "cross-entropy fused": fused_cross_entropy,
    "eisl": eisl,
}


def main():
    part = sys.argv[1] if len(sys.argv) > 1 else ""
    if not torch.cuda.is_available():
        print("nothing ran on a GPU: torch finds none", file=sys.stderr)
        return 3
    failed = 0
    for name, work in WORKS.items():
        if part not in name:
            continue
        try:
            line, times = work()
            device = torch.cuda.get_device_name()
            line |= {"by": f"torch {torch.__version__}", "device": device, "ms": times[len(times) // 2]}
            line |= {"least_ms": times[0], "most_ms": times[-1], "rounds": len(times)}
            print(json.dumps(line), flush=True)
        except Exception as e:  # A rival that fails, as for want of memory, is a row too.
            print(json.dumps({"work": name, "by": "torch", "error": str(e).splitlines()[0]}), flush=True)
            failed = 1
        torch.cuda.empty_cache()
    return failed


if __name__ == "__main__":
    sys.exit(main())
