"""The sequence encoders of the reference: (weights, path, context, options) -> [d], or ([vectors], evidence columns).

Each stands in its published form: every behaviour is projected, transforms are transforms, recurrences step by step.
"""

import math

import torch

D = 8


# ---------------------------------------------------------------- parts


def zeros(n):
    return torch.zeros(n, dtype=torch.float64)


def dense(w, path, x, width, bias=True):
    out = x @ w.get(f"param.{path}.weight", x.shape[-1], width)
    return out + w.get(f"param.{path}.bias", 1, width, scale=0.3)[0] if bias else out


def layer_norm(x, eps):
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + eps).sqrt()


def norm(w, path, x, eps=1e-5):
    gain = w.get(f"param.{path}.gain", 1, x.shape[-1], scale=0.3, shift=1.0)
    return layer_norm(x, eps) * gain[0] + w.get(f"param.{path}.bias", 1, x.shape[-1], scale=0.3)[0]


def scaled(x):
    """Rows to length 1; zero stays zero."""
    length = x.norm(dim=-1, keepdim=True)
    return torch.where(length > 1e-6, x / length.clamp_min(1e-12), torch.zeros_like(x))


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def silu(x):
    return x * sigmoid(x)


def gelu(x):
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def largest(scores, k):
    """Indices of the k largest scores, of equals the most recent."""
    return sorted(range(len(scores)), key=lambda t: (-scores[t], -t))[:k]


def target_attention(w, path, target, rows, heads, attention=0, top_k=None):
    """softmax((W_q q) (W_k h)^T / sqrt(d_h)) (W_v h) by head, joined, W_o; over the top_k of each head."""
    d = len(target)
    a = attention or d
    d_h = a // heads
    query, key = w.get(f"param.{path}query", d, a), w.get(f"param.{path}key", a, d)
    value, out = w.get(f"param.{path}value", heads * d, d_h), w.get(f"param.{path}out", a, d)
    q, parts = target @ query, []
    for h in range(heads):
        k = rows @ key[h * d_h : (h + 1) * d_h].T
        v = rows @ value[h * d : (h + 1) * d]
        if not len(rows):
            parts.append(zeros(d_h))
            continue
        scores = k @ q[h * d_h : (h + 1) * d_h] / math.sqrt(d_h)
        top = largest(scores.tolist(), top_k or len(scores))
        parts.append(torch.softmax(scores[top], 0) @ v[top])
    return torch.cat(parts) @ out


def beside_short(w, path, c, long, short, heads, attention):
    """The interest of a long part, with a target attention over the last `short` behaviours beside it."""
    if not short:
        return long
    return [long, target_attention(w, f"{path}short.", c.target, c.last(short).rows, heads, attention)], zeros(0)


def transformer(w, path, x, heads, feed_forward, activation):
    """Vaswani et al. 2017, norms behind the residuals: y = LN(x + MHSA(x)), LN(y + W_2 act(W_1 y))."""
    width = x.shape[-1]
    d_h = width // heads
    q = dense(w, f"{path}query", x, width)
    key, value = w.get(f"param.{path}key", width, width), w.get(f"param.{path}value", heads * width, d_h)
    parts = []
    for h in range(heads):
        k = x @ key[h * d_h : (h + 1) * d_h].T
        v = x @ value[h * width : (h + 1) * width]
        parts.append(torch.softmax(q[:, h * d_h : (h + 1) * d_h] @ k.T / math.sqrt(d_h), 1) @ v)
    y = norm(w, f"{path}first_norm", x + dense(w, f"{path}out", torch.cat(parts, 1), width))
    hidden = activation(dense(w, f"{path}up", y, feed_forward))
    return norm(w, f"{path}second_norm", y + dense(w, f"{path}down", hidden, width))


def inside_bucket(seconds):
    """Whether the bucket is no matter of rounding."""
    x = math.log(max(1, seconds)) / 0.301
    return seconds <= 1 or min(x % 1, 1 - x % 1) > 1e-4


def time_bucket(seconds, most):
    """floor(ln(max(1, seconds)) / 0.301), at most `most`."""
    assert inside_bucket(seconds)
    return min(most, math.floor(math.log(max(1, seconds)) / 0.301))


def code(x, planes):
    return [bool(bit) for bit in x @ planes > 0]


def nearest_codes(query, rows, planes, k):
    """Indices of the k rows whose codes differ least from the query's (ties: the most recent), in time order."""
    wanted = code(query, planes)
    distance = [sum(a != b for a, b in zip(code(row, planes), wanted)) for row in rows]
    return sorted(sorted(range(len(rows)), key=lambda t: (distance[t], -t))[:k])


# ---------------------------------------------------------------- encoders


def mean(w, path, c):
    return c.rows.mean(0) if len(c.items) else zeros(D)


def din(w, path, c):
    """Zhou et al. 2018, ReLU: a_t = MLP([q; h; q - h; q * h]), sum of a_t h_t."""
    w1, b1 = w.get(f"param.{path}din.hidden.weight", 4 * D, 16), w.get(f"param.{path}din.hidden.bias", 1, 16)
    w2, b2 = w.get(f"param.{path}din.score.0.weight", 16, 1), w.get(f"param.{path}din.score.0.bias", 1, 1)
    out = zeros(D)
    for h in c.rows:
        x = torch.cat([c.target, h, c.target - h, c.target * h])
        a = (torch.relu(x @ w1 + b1[0]) @ w2 + b2[0])[0]
        out = out + a * h
    return out


def gru(w, path, inputs, attention=None):
    """Cho et al. 2014; gates in the order update, reset, candidate; attention scales the update gate (AUGRU)."""
    x = dense(w, f"{path}gates", inputs, 3 * D)
    recurrent = w.get(f"param.{path}recurrent", D, 3 * D)
    state, states = zeros(D), []
    for t in range(len(inputs)):
        update = sigmoid(x[t, :D] + state @ recurrent[:, :D])
        reset = sigmoid(x[t, D : 2 * D] + state @ recurrent[:, D : 2 * D])
        candidate = torch.tanh(x[t, 2 * D :] + reset * (state @ recurrent[:, 2 * D :]))
        if attention is not None:
            update = attention[t] * update
        state = (1 - update) * state + update * candidate
        states.append(state)
    return states


def dien(w, path, c):
    """Zhou et al. 2019: a GRU, softmax over g_t^T W q, AUGRU; its last state."""
    transposed = w.get(f"param.{path}dien.attention", D, D)
    if not len(c.items):
        return zeros(D)
    extracted = torch.stack(gru(w, f"{path}dien.extract.", c.rows))
    attention = torch.softmax(torch.stack([g @ transposed.T @ c.target for g in extracted]), 0)
    return gru(w, f"{path}dien.evolve.", extracted, attention)[-1]


def bst(w, path, c, layers=1, heads=2, feed_forward=64):
    """Chen et al. 2019: the target as last token, positions by time, LeakyReLU; the mean of all outputs."""
    table = w.get(f"param.{path}bst.gaps", 65, D, scale=0.3)
    tokens = [h + table[1 + time_bucket(c.target_time - t, 63)] for h, t in zip(c.rows, c.times)]
    x = torch.stack(tokens + [c.target + table[0]])
    leaky = lambda x: torch.where(x > 0, x, 0.01 * x)
    for layer in range(1, layers + 1):
        x = transformer(w, f"{path}bst.layer{layer}.", x, heads, feed_forward, leaky)
    return x.mean(0) if len(c.items) else zeros(D)


def sim(w, path, c, top_k=50, heads=2, attention=0, short=0):
    """Pi et al. 2020, soft search: the top k by (W_a q) . (W_b h_t), then target attention."""
    a, b = w.get(f"param.{path}sim.search.query", D, D), w.get(f"param.{path}sim.search.key", D, D)
    # What the search learns from, in training: the behaviours weighed by their scores, beside the target.
    pooled = sum((((c.target @ a) @ (h @ b)) * h for h in c.rows), zeros(D))
    hidden = torch.relu(dense(w, f"{path}sim.search.clicks.0", torch.cat([c.target, pooled]), 2 * D))
    w.note("search", dense(w, f"{path}sim.search.clicks.1", hidden, 1)[0])
    scores = [((c.target @ a) @ (h @ b)).item() for h in c.rows]
    found = sorted(largest(scores, top_k))
    long = target_attention(w, f"{path}sim.", c.target, c.rows[found], heads, attention)
    return beside_short(w, f"{path}sim.", c, long, short, heads, attention)


def sim_hard(w, path, c, top_k=50, heads=2, attention=0, short=0):
    """Hard search: the latest k of the target's category; the unknown category finds nothing."""
    category = lambda item: 0 if item == 0 else item % 4 + 1
    wanted = category(c.target_item)
    found = [t for t in range(len(c.items)) if wanted != 0 and category(c.items[t]) == wanted][-top_k:]
    long = target_attention(w, f"{path}sim-hard.", c.target, c.rows[found], heads, attention)
    return beside_short(w, f"{path}sim-hard.", c, long, short, heads, attention)


def eta(w, path, c, bits=32, top_k=50, heads=2, attention=0, short=0):
    """Chen et al. 2021: the k nearest by Hamming distance of SimHash codes, then target attention."""
    planes = w.get(f"buffer.{path}eta.projections", D, bits, scale=1.0, grad=False)
    found = nearest_codes(c.target, c.rows, planes, top_k)
    long = target_attention(w, f"{path}eta.", c.target, c.rows[found], heads, attention)
    return beside_short(w, f"{path}eta.", c, long, short, heads, attention)


def sdim(w, path, c, hashes=12, bits=3, short=0, heads=2, attention=0):
    """Cao et al. 2022: sums of the behaviours that share the target's code, to length 1, mean over hashes."""
    planes = w.get(f"buffer.{path}sdim.projections", D, hashes * bits, scale=1.0, grad=False)
    out = w.get(f"param.{path}sdim.out", D, D)
    code = lambda x: (x @ planes > 0).reshape(hashes, bits)
    wanted, total = code(c.target), zeros(D)
    for i in range(hashes):
        same = [h for h in c.rows if bool((code(h)[i] == wanted[i]).all())]
        if same:
            bucket = torch.stack(same).sum(0)
            total = total + bucket / bucket.norm()
    return beside_short(w, f"{path}sdim.", c, total / hashes @ out, short, heads, attention)


def twin(w, path, c, heads=2, top_k=100, attention=0, short=0):
    """Chang et al. 2023: multi-head target attention over the top-k behaviours, projected row by row."""
    long = target_attention(w, f"{path}twin.", c.target, c.rows, heads, attention, top_k)
    return beside_short(w, f"{path}twin.", c, long, short, heads, attention)


def mirrn(w, path, c, bits=32, top_k=50, local=16, positions=301, heads=1, attention=0, short=0):
    """arXiv 2411.15005: three hash searches, each through LN(irfft(W rfft(X)) + X), weighed by target attention."""
    planes = w.get(f"buffer.{path}mirrn.projections", D, bits, scale=1.0, grad=False)
    table = w.get(f"param.{path}mirrn.positions", positions, D, scale=1.0)
    n, keys = len(c.items), []
    # Means are taken inside the loop, where there is something to average.
    queries = {"target": lambda: c.target, "local": lambda: c.last(local).rows.mean(0), "global": lambda: c.rows.mean(0)}
    for branch, query in queries.items():
        at = f"{path}mirrn.{branch}"
        # The published scale is 0.02; larger here, so that the mixing over time is seen.
        mixing = torch.complex(*[w.get(f"param.{at}.{part}", 1, D, scale=0.5)[0] for part in ["real", "imaginary"]])
        if not n:
            keys.append(zeros(D))
            continue
        found = nearest_codes(query(), c.rows, planes, top_k)
        x = torch.stack([c.rows[t] + 0.02 * table[min(n - t, positions) - 1] for t in found])
        y = torch.fft.irfft(mixing * torch.fft.rfft(x, dim=0, norm="ortho"), n=len(found), dim=0, norm="ortho")
        keys.append(norm(w, f"{at}.norm", y + x).mean(0))
    long = target_attention(w, f"{path}mirrn.", c.target, torch.stack(keys), heads, attention)
    return beside_short(w, f"{path}mirrn.", c, long, short, heads, attention)


def transact(w, path, c, layers=1, heads=2, feed_forward=64, first_k=1):
    """Xia et al. 2023: a transformer over [h_t; q]; its newest columns, the missing ones zero, to width d."""
    n = len(c.items)
    columns = torch.zeros(first_k, 2 * D, dtype=torch.float64)
    if n:
        x = torch.cat([c.rows, c.target.expand(n, D)], 1)
        for layer in range(1, layers + 1):
            x = transformer(w, f"{path}transact.layer{layer}.", x, heads, feed_forward, torch.relu)
        columns = torch.cat([columns, x])[-first_k:]
    return dense(w, f"{path}transact.out", columns.flatten(), D, bias=False)


def mamba(w, path, u, state, convolution, expand):
    """Gu and Dao 2023, step by step."""
    e, rank = expand * D, math.ceil(D / 16)
    x, z = dense(w, f"{path}input", u, 2 * e, bias=False).split(e, dim=1)
    kernel = w.get(f"param.{path}convolution.weight", convolution, e)  # row k weighs what lies k steps back
    shift = w.get(f"param.{path}convolution.bias", 1, e, scale=0.3)[0]
    a = -torch.exp(w.get(f"param.{path}a_log", e, state, scale=0.5, shift=0.5))
    skip = w.get(f"param.{path}skip", 1, e, scale=0.3, shift=1.0)[0]
    reach = [sum((kernel[k] * x[t - k] for k in range(convolution) if t >= k), shift) for t in range(len(u))]
    x = silu(torch.stack(reach))
    step, b, c = dense(w, f"{path}select", x, rank + 2 * state, bias=False).split([rank, state, state], dim=1)
    step = torch.log1p(torch.exp(dense(w, f"{path}delta", step, e)))
    h, out = torch.zeros(e, state, dtype=torch.float64), []
    for t in range(len(u)):
        h = torch.exp(step[t, :, None] * a) * h + (step[t, :, None] * b[t]) * x[t, :, None]
        out.append(h @ c[t] + skip * x[t])
    return dense(w, f"{path}out", torch.stack(out) * silu(z), D, bias=False)


def mamba4rec(w, path, c, layers=1, state=8, convolution=4, expand=2):
    """Liu et al. 2024: norm, layers of [Mamba, norm, MLP, norm]; the newest state."""
    if not len(c.items):
        return zeros(D)
    x = norm(w, f"{path}mamba4rec.norm", c.rows)
    for layer in range(layers):
        at = f"{path}mamba4rec.layer{layer}."
        y = mamba(w, at, x, state, convolution, expand)
        x = norm(w, f"{at}first_norm", y + x if layers > 1 else y)
        x = norm(w, f"{at}second_norm", x + dense(w, f"{at}down", gelu(dense(w, f"{at}up", x, 4 * D)), D))
    return x[-1]


def hstu(w, path, c, blocks=2, heads=2, max_length=128):
    """Zhai et al. 2024: SiLU(Q K^T + bias) / n under an explicit mask, norms without weights (eps 1e-6)."""
    n, d_h = len(c.items), D // heads
    if not n:
        return zeros(D)
    x = c.rows
    mask = torch.tril(torch.ones(n, n, dtype=torch.float64))
    following = list(c.times[1:]) + [c.target_time]
    for block in range(1, blocks + 1):
        at = f"param.{path}hstu.block{block}."
        distance, gap = w.get(f"{at}distance", 1, max_length, scale=0.5)[0], w.get(f"{at}gap", 1, 129, scale=0.5)[0]
        u, v, q, k = silu(layer_norm(x, 1e-6) @ w.get(f"{at}input", D, 4 * D)).split(D, dim=1)
        ranks = [[min(abs(i - j), max_length - 1) for j in range(n)] for i in range(n)]
        gaps = [[time_bucket(abs(following[i] - c.times[j]), 128) if j <= i else 0 for j in range(n)] for i in range(n)]
        bias = distance[torch.tensor(ranks)] + gap[torch.tensor(gaps)]
        parts = []
        for h in range(heads):
            s = slice(h * d_h, (h + 1) * d_h)
            parts.append(silu(q[:, s] @ k[:, s].T + bias) / max_length * mask @ v[:, s])
        x = (u * layer_norm(torch.cat(parts, 1), 1e-6)) @ w.get(f"{at}out", D, D) + x
    return x[-1]


def attenmixer(w, path, c, levels=7, heads=2, power=4.0, mix="renorm", target="late"):
    """arXiv 2206.12781, steps 1 to 6, and r = W_r q met at the end; r is one more level where target = "query"."""
    n, d_h, at = len(c.items), D // heads, f"{path}attenmixer."
    r = scaled(dense(w, f"{at}target", c.target, D, bias=False))
    if not n:
        return [zeros(D)], zeros(D + 1)
    x = scaled(c.rows)
    newest = [x[n - 1 - i] if i < n else zeros(D) for i in range(levels)]
    queries = [scaled(dense(w, f"{at}level{i}", torch.cat(newest[:i]), D)) for i in range(1, levels + 1)]
    if target == "query":
        queries.append(r)
    q = dense(w, f"{at}query", torch.stack(queries), D)
    k, v = dense(w, f"{at}key", x, D), dense(w, f"{at}value", x, D)
    parts = []
    for h in range(heads):
        s = slice(h * d_h, (h + 1) * d_h)
        maps = torch.softmax(2 * sigmoid(q[:, s] @ k[:, s].T), 1)
        p = (maps**power).sum(0) ** (1 / power)
        weights = p / p.sum() if mix == "renorm" else torch.softmax(2 * p, 0)
        parts.append(weights @ v[:, s])
    z = norm(w, f"{at}norm", torch.cat(parts))
    s = scaled(dense(w, f"{at}session", torch.cat([z, x[-1]]), D))
    return [s], torch.cat([s * r, (16 * (s @ r)).reshape(1)])


def entmax15(a):
    """p = [a / 2 - tau]_+^2 with tau by bisection, then as a function of the support so found (Peters et al. 2019)."""
    z = a / 2
    low, high = z.max().item() - 1, z.max().item()
    for _ in range(200):
        tau = (low + high) / 2
        total = sum(max(0.0, x - tau) ** 2 for x in z.tolist())
        low, high = (tau, high) if total > 1 else (low, tau)
    support = z > low
    assert all(abs(x - low) > 1e-6 for x in z.tolist()), "a score on the border of the support"
    # On a fixed support tau solves sum (z - tau)^2 = 1; this form of it carries the gradient.
    y = z[support]
    tau = y.mean() - ((1 - ((y - y.mean()) ** 2).sum()) / len(y)).sqrt()
    assert abs(tau.item() - low) < 1e-9
    return torch.where(support, (z - tau) ** 2, torch.zeros_like(z))


def miasrec(w, path, c, session=50, layers=2, heads=2, feed_forward=64, beta=0.9, target="late"):
    """arXiv 2405.00986: mean token and behaviours, most recent first, transformer, highway, selector; then r = W_r q."""
    at = f"{path}miasrec."
    r = scaled(dense(w, f"{at}target", c.target, D, bias=False))
    positions = w.get(f"param.{at}positions", session + 1, D, scale=0.3)
    counts = w.get(f"param.{at}counts", 2, D, scale=0.3)
    c = c.last(session)
    if not len(c.items):
        return [zeros(D)], zeros(D + 1)
    items = c.items[::-1]
    x = torch.cat([c.rows.mean(0, keepdim=True), c.rows.flip(0)])
    y = [x[0] + positions[0]]
    for i, item in enumerate(items):
        y.append(x[i + 1] + positions[i + 1] + counts[min(items.count(item), 2) - 1])
    seen = norm(w, f"{at}norm", torch.stack(y))
    for layer in range(1, layers + 1):
        seen = transformer(w, f"{at}layer{layer}.", seen, heads, feed_forward, gelu)
    gate = sigmoid(dense(w, f"{at}highway", torch.cat([x, seen], 1), D))
    h = gate * x + (1 - gate) * seen
    p = entmax15(dense(w, f"{at}selector", h, 1)[:, 0])
    v = scaled(h)
    scores = v @ r
    selected = [i for i in range(len(p)) if p[i] > 0]
    if target == "query":
        share = torch.softmax(scores[selected] / 0.07 + torch.log(p[selected]), 0)
        best = share @ v[selected]
    else:
        # The largest score; of equals the most recent, the mean token last.
        best = v[max(selected, key=lambda i: (scores[i].item(), -i if i else -len(p)))]
    o = beta * best + (1 - beta) * (p @ v)
    return [o], torch.cat([o * r, (o @ r / 0.07).reshape(1)])


ENCODERS = {
    "mean": mean,
    "din": din,
    "twin": twin,
    "sdim": sdim,
    "dien": dien,
    "bst": bst,
    "sim": sim,
    "sim-hard": sim_hard,
    "eta": eta,
    "mirrn": mirrn,
    "transact": transact,
    "mamba4rec": mamba4rec,
    "hstu": hstu,
    "attenmixer": attenmixer,
    "miasrec": miasrec,
}

# These know order by themselves, and get no positions.
ORDERED = ["dien", "bst", "mirrn", "transact", "mamba4rec", "hstu", "attenmixer", "miasrec"]

# Options small enough that choices and windows cut histories of up to 25.
SMALL = {
    "twin": {"top_k": 4, "short": 5, "attention": 16, "heads": 4},
    "sdim": {"short": 5},
    "bst": {"layers": 2},
    "sim": {"top_k": 4},
    "sim-hard": {"top_k": 3},
    "eta": {"top_k": 4, "bits": 8},
    "mirrn": {"top_k": 5, "local": 3, "positions": 10},
    "transact": {"first_k": 3, "layers": 2},
    "mamba4rec": {"layers": 2},
    "hstu": {"max_length": 16},
    "attenmixer": {"target": "query", "mix": "softmax"},
    "miasrec": {"target": "query", "session": 10},
}
