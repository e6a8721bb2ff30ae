"""The ceilings and the rivals of `gpu-bench`, in torch on the same GPU: a JSON object a line, as gpu-bench prints them.

    python3 rivals.py [--only ceilings|rivals] [--device cpu] [PART...]

A rival has the name of the row of gpu-bench that it stands beside, and its own form. PART: names that contain it, else all;
the ceilings' copy is always measured. `--device cpu` runs each form once on small inputs, and its times mean nothing.
Exit codes: 0 all measured, 1 something failed, 2 wrong usage, 3 nothing ran on a GPU, 4 no rival has such a name.

Needs torch with CUDA; the fused cross-entropy needs triton, which comes with it. Each form is written from its
definition: det G and the form without a determinant (arXiv 2412.11959), the edit-invariant loss (arXiv 2106.15078).
Times are those of CUDA events, the median of 20 rounds over four copies of the inputs. It has not run on hardware yet.
"""

import argparse
import json
import os
import sys
import time

if any("cpu" in word for word in sys.argv[1:]):  # Triton reads it when a kernel is defined.
    os.environ["TRITON_INTERPRET"] = "1"

import torch
import torch.nn.functional as F

try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None
else:

    @triton.jit
    def fused_kernel(x_ptr, target_ptr, loss_ptr, v, BLOCK: tl.constexpr):
        """A row each: the loss, and its gradient in place of the logits. Two reads, one write."""
        row = tl.program_id(0).to(tl.int64)
        x_ptr += row * v
        target = tl.load(target_ptr + row)
        # Before the sums, at which all threads meet: one of them may overwrite it afterwards.
        chosen = tl.load(x_ptr + target)
        top, total = -float("inf"), 0.0
        for start in range(0, v, BLOCK):
            at = start + tl.arange(0, BLOCK)
            x = tl.load(x_ptr + at, mask=at < v, other=-float("inf"))
            new = tl.maximum(top, tl.max(x, 0))
            total = total * tl.exp(top - new) + tl.sum(tl.exp(x - new), 0)
            top = new
        lse = top + tl.log(total)
        tl.store(loss_ptr + row, lse - chosen)
        for start in range(0, v, BLOCK):
            at = start + tl.arange(0, BLOCK)
            x = tl.load(x_ptr + at, mask=at < v, other=-float("inf"))
            g = tl.exp(x - lse) - tl.where(at == target, 1.0, 0.0)
            tl.store(x_ptr + at, g, mask=at < v)


COPIES, ROUNDS = 4, 20
DEVICE = "cuda"


def sizes(full, small):
    return full if DEVICE == "cuda" else small


def timed(work, x):
    if DEVICE == "cpu":
        began = time.perf_counter()
        work(x)
        return 1e3 * (time.perf_counter() - began)
    first, second = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record()
    work(x)
    second.record()
    second.synchronize()
    return first.elapsed_time(second)


def measured(work, inputs):
    """The times in ms of `work` on each input in turn, sorted."""
    for x in inputs:
        work(x)
    return sorted(timed(work, inputs[r % len(inputs)]) for r in range(sizes(ROUNDS, 1)))


def median(times):
    return times[len(times) // 2]


def copies(*shape, dtype=torch.float32):
    return [torch.randn(*shape, device=DEVICE, dtype=dtype) for _ in range(sizes(COPIES, 1))]


def copy():
    n = sizes(1 << 26, 1000)
    to = torch.empty(n, device=DEVICE)
    times = measured(to.copy_, copies(n))
    return {"work": f"copy, {4 * n / 1e6:.0f} MB", "gb_s": 8 * n / median(times) / 1e6}, times


def matmul(dtype, tf32):
    def run():
        torch.backends.cuda.matmul.allow_tf32 = tf32
        b, d, m = sizes((8192, 512, 2), (16, 8, 2))
        anchors = torch.randn(b, d, device=DEVICE, dtype=dtype)
        times = measured(lambda q: anchors @ q.T, copies(b * m, d, dtype=dtype))
        rate = 2 * b * b * m * d / median(times) / 1e9
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


def gram(form, compiled=False, tf32=False):
    def run():
        k, b, d = sizes((3, 4096, 512), (3, 8, 16))
        torch.backends.cuda.matmul.allow_tf32 = tf32
        loss = contrastive(form)
        loss = torch.compile(loss) if compiled else loss

        def step(x):
            x.grad = None
            loss(x).backward()

        inputs = [x.requires_grad_() for x in copies(k, b, d)]
        step(inputs[0])
        row = {"work": f"GRAM loss forward and backward, B={b}, k={k}, D={d}, {'TF32' if tf32 else 'f32'}"}
        if DEVICE == "cpu":
            return row, measured(step, inputs)
        torch.cuda.synchronize()
        # Besides the inputs, and one gradient, as long as one input.
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        times = measured(step, inputs)
        extra = torch.cuda.max_memory_allocated() - before - (COPIES - 1) * inputs[0].nbytes
        return row | {"extra_mb": extra / 1e6}, times

    return run


def cross_entropy():
    rows, v = sizes((32 * 128, 32000), (12, 40))
    target = torch.randint(v, (rows,), device=DEVICE)

    def step(x):
        x.grad = None
        F.cross_entropy(x, target).backward()

    inputs = [x.requires_grad_() for x in copies(rows, v)]
    return {"work": f"cross-entropy forward and backward, {rows} x {v}, f32"}, measured(step, inputs)


def edit_invariant_loss(x, target):
    """EISL of n = 1..4 over logits [B, T, V] and targets [B, U]: scores gathered, n-grams as sums along diagonals."""
    b, t, _ = x.shape
    lse = torch.logsumexp(x, -1)
    index = target[:, None, :].expand(b, t, target.shape[1])
    s = (x.gather(-1, index) - lse[..., None]).clamp_min(-20.0)
    total, diagonal = 0.0, s
    for n in range(1, 5):
        if n > 1:
            diagonal = diagonal[:, :-1, :-1] + s[:, n - 1 :, n - 1 :]
        score = diagonal / n
        total = total - (torch.softmax(score, 1) * score).sum(1).mean() / 4
    return total


def eisl():
    b, t, u, v = sizes((32, 128, 128, 32000), (2, 6, 5, 40))
    target = torch.randint(v, (b, u), device=DEVICE)

    def step(x):
        x.grad = None
        edit_invariant_loss(x, target).backward()

    inputs = [x.requires_grad_() for x in copies(b, t, v)]
    return {"work": f"EISL n=1..4 forward and backward, B={b}, T={t}, V={v}, f32"}, measured(step, inputs)


def fused(x, target, loss, block, warps):
    fused_kernel[(x.shape[0],)](x, target, loss, x.shape[1], BLOCK=block, num_warps=warps)


def check_fused():
    """That the kernel computes what torch does."""
    rows, v = 5, 77
    x = torch.randn(rows, v, device=DEVICE)
    target, loss = torch.randint(v, (rows,), device=DEVICE), torch.empty(rows, device=DEVICE)
    want = F.softmax(x, -1) - F.one_hot(target, v)
    want_loss = F.cross_entropy(x, target, reduction="none")
    fused(x, target, loss, 32, 4)
    torch.testing.assert_close(loss, want_loss, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(x, want, rtol=1e-4, atol=1e-5)


def fused_cross_entropy():
    """The fastest of some block sizes and numbers of warps."""
    if triton is None:
        raise RuntimeError("triton is not installed: the fused cross-entropy was not measured")
    check_fused()
    rows, v = sizes((32 * 128, 32000), (3, 40))
    target = torch.randint(v, (rows,), device=DEVICE)
    loss = torch.empty(rows, device=DEVICE)
    inputs = copies(rows, v)
    best = None
    for block in sizes((1024, 2048, 4096, 8192, 16384), (16, 64)):
        for warps in (4, 8, 16):
            times = measured(lambda x: fused(x, target, loss, block, warps), inputs)
            if best is None or median(times) < median(best[0]):
                best = times, block, warps
    times, block, warps = best
    row = {"work": f"cross-entropy in place, {rows} x {v}, f32, blocks of {block}, {warps} warps"}
    return row | {"gb_s": 12 * rows * v / median(times) / 1e6}, times


# The name of the row of gpu-bench, the form, how it is measured.
CEILINGS = [
    ("copy", "copy", copy),
    ("volume matrix tf32", "product", matmul(torch.float32, True)),
    ("volume matrix bf16", "product", matmul(torch.bfloat16, False)),
    ("volume matrix", "product", matmul(torch.float32, False)),
]
RIVALS = [
    ("gram loss", "determinant", gram(determinant_volumes)),
    ("gram loss", "determinant-free", gram(volumes)),
    ("gram loss", "determinant-free, compiled", gram(volumes, compiled=True)),
    ("gram loss tf32", "determinant", gram(determinant_volumes, tf32=True)),
    ("gram loss tf32", "determinant-free", gram(volumes, tf32=True)),
    ("gram loss tf32", "determinant-free, compiled", gram(volumes, compiled=True, tf32=True)),
    ("sequence loss", "gather and diagonals", eisl),
    ("sequence loss", "cross-entropy", cross_entropy),
    ("sequence loss", "cross-entropy in Triton", fused_cross_entropy),
]


def row_of(name, form, work):
    """The row of a rival. One that fails, as for want of memory, is a row too."""
    row = {"name": name, "form": form, "by": f"torch {torch.__version__}"}
    row["device"] = torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"
    row |= {key: os.environ.get(f"RIVERGRAM_BENCH_{key.upper()}") for key in ("date", "driver")}
    try:
        own, times = work()
        row |= own | {"ms": median(times), "least_ms": times[0], "most_ms": times[-1], "rounds": len(times)}
    except Exception as e:
        lines = str(e).strip().splitlines()
        row["error"] = f"{type(e).__name__}: {lines[0][:200]}" if lines else type(e).__name__
    torch.backends.cuda.matmul.allow_tf32 = False
    return row


def main():
    global DEVICE
    words = argparse.ArgumentParser(description="the ceilings and the rivals of gpu-bench, in torch")
    words.add_argument("--only", choices=["ceilings", "rivals"])
    words.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    words.add_argument("part", nargs="*", help="names that contain it, else all")
    asked = words.parse_args()
    DEVICE = asked.device
    if DEVICE == "cuda" and not torch.cuda.is_available():
        print("nothing ran on a GPU: torch finds none", file=sys.stderr)
        return 3
    lists = {"ceilings": CEILINGS, "rivals": RIVALS}
    works = [work for key, works in lists.items() if asked.only in (None, key) for work in works]
    is_asked = lambda name: not asked.part or any(part.lower() in name for part in asked.part)
    chosen = [work for work in works if work[0] == "copy" or is_asked(work[0])]
    if asked.only != "ceilings" and not any(is_asked(name) for name, _, _ in works):
        print(f"no rival is called {' or '.join(map(repr, asked.part))}", file=sys.stderr)
        return 4
    failed = 0
    for name, form, work in chosen:
        row = row_of(name, form, work)
        print(json.dumps(row), flush=True)
        failed |= "error" in row
        if DEVICE == "cuda":
            torch.cuda.empty_cache()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
