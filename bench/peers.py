"""The work of the bench as a researcher writes it in torch and faiss, from the formulas.

Run by `cargo xtask bench --peers`: one request a line on the standard input, {"do": "load" | "run" | "forget",
"work": name, "size": [...]}; one answer a line, {"ms": time} or {"error": why}. One thread.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F

torch.set_num_threads(1)
TEMPERATURE, SMOOTHING, CLAMP = 0.07, 0.1, -20.0


def unit(*shape):
    return F.normalize(torch.randn(*shape), dim=-1)


def contrastive(volumes):
    """Cross-entropy of rows and of columns, arXiv 2412.11959."""
    scores, own = -volumes / TEMPERATURE, torch.arange(len(volumes))
    rows = F.cross_entropy(scores, own, label_smoothing=SMOOTHING)
    columns = F.cross_entropy(scores.T, own, label_smoothing=SMOOTHING)
    return (rows + columns) / 2


def by_determinant(anchors, items):
    """V = sqrt|det G|, G the Gram matrix of an anchor and the m vectors of an item; items [B, m, D]."""
    rows, m, _ = items.shape
    k = m + 1
    gram = anchors.new_empty(len(anchors), rows, k, k)
    gram[..., 0, 0] = (anchors * anchors).sum(-1)[:, None]
    mixed = torch.einsum("id,jmd->ijm", anchors, items)
    gram[..., 0, 1:] = mixed
    gram[..., 1:, 0] = mixed
    gram[..., 1:, 1:] = items @ items.transpose(1, 2)
    return gram.det().abs().sqrt()


def by_distance(anchors, items):
    """V = vol(item) times the distance of the anchor to the item's span, by an orthonormal basis of each item."""
    q, r = torch.linalg.qr(items.transpose(1, 2))
    own = r.diagonal(dim1=1, dim2=2).prod(-1).abs()
    rows, d, m = q.shape
    projections = (anchors @ q.permute(1, 0, 2).reshape(d, rows * m)).view(-1, rows, m)
    square = (anchors * anchors).sum(-1)[:, None] - projections.square().sum(-1)
    return own * square.clamp_min(1e-12).sqrt()


def gram(volume_of):
    def load(rows, k, d):
        anchors = unit(rows, d).requires_grad_()
        items = unit(rows, k - 1, d).requires_grad_()

        def step():
            anchors.grad = items.grad = None
            contrastive(volume_of(F.normalize(anchors, dim=-1), F.normalize(items, dim=-1))).backward()

        return step

    return load


def volumes(rows, k, d):
    anchors, items = unit(rows, d), unit(rows, k - 1, d)

    def step():
        with torch.no_grad():
            by_distance(anchors, items)

    return step


def logits(batch, positions, vocabulary):
    x = torch.randn(batch, positions, vocabulary).requires_grad_()
    return x, torch.randint(vocabulary, (batch, positions))


def cross_entropy(batch, positions, vocabulary):
    x, labels = logits(batch, positions, vocabulary)

    def step():
        x.grad = None
        F.cross_entropy(x.view(-1, vocabulary), labels.view(-1)).backward()

    return step


def edit_invariant(batch, positions, vocabulary, orders=4):
    """arXiv 2106.15078 without its convolution: scores of the target tokens, summed along diagonals."""
    x, labels = logits(batch, positions, vocabulary)
    index = labels[:, None, :].expand(batch, positions, positions)

    def step():
        x.grad = None
        scores = x.log_softmax(-1).gather(-1, index).clamp_min(CLAMP)
        sums, loss = scores, 0.0
        for n in range(1, orders + 1):
            if n > 1:
                sums = sums[:, :-1, :-1] + scores[:, n - 1 :, n - 1 :]
            means = sums / n
            loss = loss - ((means.softmax(1) * means).sum(1).mean(1) / orders).mean()
        loss.backward()

    return step


def inner_products(items, d, queries):
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexFlatIP(d)
    index.add(unit(items, d).numpy())
    asked = unit(queries, d).numpy()
    return lambda: index.search(asked, 10)


WORK = {
    "gram det": gram(by_determinant),
    "gram free": gram(by_distance),
    "volumes": volumes,
    "cross-entropy": cross_entropy,
    "eisl": edit_invariant,
    "faiss": inner_products,
}


def main():
    loaded = {}
    for line in sys.stdin:
        try:
            asked = json.loads(line)
            key = json.dumps([asked["work"], asked["size"]])
            if asked["do"] == "load":
                loaded[key] = WORK[asked["work"]](*asked["size"])
                answer = {"ms": 0.0}
            elif asked["do"] == "forget":
                del loaded[key]
                answer = {"ms": 0.0}
            else:
                step = loaded[key]
                start = time.perf_counter()
                step()
                answer = {"ms": (time.perf_counter() - start) * 1e3}
        except Exception as why:  # told to the bench, which shows it in the row
            answer = {"error": f"{type(why).__name__}: {why}"}
        print(json.dumps(answer), flush=True)


main()
