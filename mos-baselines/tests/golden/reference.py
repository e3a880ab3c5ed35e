"""An independent reference of the models, in PyTorch: plain loops over samples, the published forms, nothing folded.

    pip install torch numpy safetensors
    python reference.py [NAME..]   # writes these files, or all: <encoder>-<mixture>[-<head>|-small].safetensors

Each file holds random weights under the names of a checkpoint, a batch, and what PyTorch makes of them: `expected.logits`
and the gradients of the mean click loss, `expected.grad.<name>`. tests/golden.rs loads the weights and compares.
"""

import collections
import copy
import json
import math
import pathlib
import sys

import torch
from safetensors.torch import save_file

from encoders import D, ENCODERS, ORDERED, SMALL, inside_bucket

HEAD, ITEMS, BEHAVIOURS, CODES = 6, 31, 3, 8
LENGTHS = [7, 0, 1, 12, 25, 3]


class Weights:
    """Leaves by name, drawn when first asked for."""

    def __init__(self, seed, losses=False):
        self.losses, self.notes = losses, collections.defaultdict(list)
        self.draw = torch.Generator().manual_seed(seed)
        self.all = {}

    def get(self, name, *shape, scale=None, shift=0.0, grad=True):
        if name not in self.all:
            scale = scale or (2 / sum(shape)) ** 0.5
            value = torch.randn(*shape, generator=self.draw, dtype=torch.float32) * scale + shift
            if name.startswith("table."):
                value[0] = 0  # the unknown item
            self.all[name] = value.requires_grad_(grad)
        # Computed in double precision: what is compared against should not err itself.
        return self.all[name].double()

    def note(self, what, value):
        """Keeps a value of one sample for a loss of the model's own."""
        self.notes[what].append(value)


class Context:
    """What an encoder sees of one sample: target [d], rows [n, d], and the integers."""

    def __init__(self, target, rows, items, sessions, times, target_item, target_time):
        self.target, self.rows, self.items, self.sessions, self.times = target, rows, items, sessions, times
        self.target_item, self.target_time = target_item, target_time

    def pick(self, index):
        index, out = list(index), copy.copy(self)
        out.rows = self.rows[index]
        out.items, out.sessions, out.times = [[column[i] for i in index] for column in (self.items, self.sessions, self.times)]
        return out

    def seen(self, target, rows):
        """The same events with other vectors."""
        out = self.pick(range(len(self.items)))
        out.target, out.rows = target, rows
        return out

    def last(self, n):
        return self.pick(range(max(0, len(self.items) - n), len(self.items)))


# ---------------------------------------------------------------- encoders, see encoders.py


def interest(encoder, w, path, c):
    """Vectors and evidence of an encoder, given as its name and options. Unless it knows order by itself it stands
    behind positions of its own: rank r from the newest is bucket min(15, floor(2 log2(r + 1)))."""
    name, options = encoder
    if name not in ORDERED:
        c = positioned(w, path, c)
    out = ENCODERS[name](w, path, c, **options)
    return out if isinstance(out, tuple) else ([out], [])


def expert(encoder, w, path, c):
    """The vector of an encoder that returns one, and no evidence."""
    (vector,), evidence = interest(encoder, w, path, c)
    assert not len(evidence)
    return vector


def positioned(w, path, c):
    table = w.get(f"param.{path}positions", 16, len(c.target), scale=0.05)
    n = len(c.items)
    bucket = [min(15, math.floor(2 * math.log2(n - 1 - t + 1))) for t in range(n)]
    out = copy.copy(c)
    out.rows = c.rows + table[bucket] if n else c.rows
    return out


# ---------------------------------------------------------------- mixtures: -> vectors, evidence


def none(encoder, w, c, catalog):
    return interest(encoder, w, "encoder.", c)


def scales(encoder, w, c, catalog):
    return [expert(encoder, w, "encoder.global.", c), expert(encoder, w, "encoder.short.", c.last(20))], []


def gshard(encoder, w, c, catalog, top_k=4, short=True):
    pooled = c.rows.mean(0) if len(c.items) else torch.zeros(D, dtype=torch.float64)
    gate = torch.cat([c.target, pooled]) @ w.get("param.encoder.gate.weight", 2 * D, 4) + w.get("param.encoder.gate.bias", 1, 4)[0]
    gate = torch.softmax(gate, 0)
    w.note("gates", gate)
    outputs = [expert(encoder, w, f"encoder.expert{e}.", c) for e in range(4)]
    chosen = sorted(range(4), key=lambda e: -gate[e].item())[:top_k]
    vector = sum(gate[e] * outputs[e] for e in chosen) / sum(gate[e] for e in chosen)
    return [vector] + ([expert(encoder, w, "encoder.short.", c.last(20))] if short else []), []


def gshard_bare(encoder, w, c, catalog):
    return gshard(encoder, w, c, catalog, top_k=2, short=False)


def unit(x):
    norm = x.norm(dim=-1, keepdim=True)
    return torch.where(norm > 1e-6, x / norm.clamp_min(1e-12), torch.zeros_like(x))


def nearest(vectors, codes):
    """Code with the largest cosine; None for a vector of zeros."""
    best = (unit(vectors) @ unit(codes).T).argmax(-1).tolist()
    return [z if bool(v.any()) else None for z, v in zip(best, vectors)]


def pooled(c, size):
    """Means of blocks of `size` behaviours, counted from the newest."""
    n, blocks, newest = len(c.items), [], []
    for end in range(n, 0, -size):
        blocks.append(c.rows[max(0, end - size) : end].mean(0))
        newest.append(end - 1)
    blocks, newest = blocks[::-1], newest[::-1]
    out = c.pick(newest)
    out.rows = torch.stack(blocks) if blocks else c.rows
    return out


def mos(encoder, w, c, catalog):
    """Behaviours by their item's theme, the target's theme only, global expert on blocks of 4, short expert."""
    content = w.get("table.encoder.router.content", ITEMS, D, scale=1.0, grad=False)
    vectors = content @ w.get("param.encoder.router.map", D, D, grad=w.losses)
    codes = w.get("param.encoder.router.codes", CODES, D, grad=w.losses)
    w.note("themes", (c, vectors, codes))
    themes = nearest(vectors, codes)
    own = themes[c.target_item]
    mine = [t for t in range(len(c.items)) if own is not None and themes[c.items[t]] == own][-40:]
    evidence = 0.25 * math.log(1 + len(mine)) if own is not None else -0.5
    vectors = [
        expert(encoder, w, "encoder.global.", pooled(c, 4)),
        expert(encoder, w, "encoder.short.", c.last(20)),
        expert(encoder, w, "encoder.theme.", c.pick(mine)),
    ]
    return vectors, [evidence]


def mos_vq(encoder, w, c, catalog):
    """Sessions by the mean of their items' unit vectors, all themes run, mixed by the target's membership."""
    items = w.get("table.items", ITEMS, D).detach()
    codes = w.get("param.encoder.router.codes", CODES, D, grad=False)
    sessions = sorted(set(c.sessions))
    theme_of = {}
    for s in sessions:
        members = [c.items[t] for t in range(len(c.items)) if c.sessions[t] == s]
        theme_of[s] = nearest(unit(items[members]).sum(0, keepdim=True), codes)[0]
    target = items[c.target_item]
    known = bool(target.any())
    membership = torch.softmax(unit(target) @ unit(codes).T / 0.2, 0) if known else torch.zeros(CODES, dtype=torch.float64)
    total, mass = torch.zeros(D, dtype=torch.float64), 0.0
    own = nearest(target.unsqueeze(0), codes)[0]
    count = 0
    for theme in range(CODES):
        mine = [t for t in range(len(c.items)) if theme_of[c.sessions[t]] == theme][-40:]
        if mine:
            total = total + membership[theme] * expert(encoder, w, "encoder.theme.", c.pick(mine))
            mass += membership[theme].item()
        if theme == own:
            count = len(mine)
    if mass > 0:
        total = total / mass
    evidence = 0.25 * math.log(1 + count) if own is not None else -0.5
    return [expert(encoder, w, "encoder.global.", c), expert(encoder, w, "encoder.short.", c.last(20)), total], [evidence]


def zeros():
    return torch.zeros(D, dtype=torch.float64)


def pooled_features(c):
    """What a gate sees of a sample: [target; mean of the history]."""
    return torch.cat([c.target, c.rows.mean(0) if len(c.items) else zeros()])


def token_features(c, t):
    """What a gate sees of a behaviour: [behaviour; target]."""
    return torch.cat([c.rows[t], c.target])


def affine(w, name, x, out, bias=True):
    y = x @ w.get(f"param.{name}.weight", len(x), out)
    return y + w.get(f"param.{name}.bias", 1, out)[0] if bias else y


def best(values, k):
    """Places of the k largest, best first, the lower place among equals."""
    return sorted(range(len(values)), key=lambda e: (-values[e].item(), e))[:k]


def short_branch(encoder, w, c):
    return expert(encoder, w, "encoder.short.", c.last(20))


def mixed(encoder, w, c, weights, experts=4):
    """Sum of the chosen experts on the whole history: {expert: weight}."""
    outputs = [expert(encoder, w, f"encoder.expert{e}.", c) for e in range(experts)]
    return sum((weights[e] * outputs[e] for e in sorted(weights)), zeros())


def by_token(encoder, w, c, weights, experts=4):
    """weights: for each behaviour {expert: weight}. An expert reads the behaviours that chose it, scaled; outputs summed."""
    total = zeros()
    for e in range(experts):
        mine = [t for t in range(len(c.items)) if e in weights[t]]
        part = c.pick(mine)
        if mine:
            part.rows = torch.stack([weights[t][e] * c.rows[t] for t in mine])
        total = total + expert(encoder, w, f"encoder.expert{e}.", part)
    return total


def within_capacity(choices, experts, top_k, factor):
    """choices: for each behaviour its experts, best first. First choices before second, the most recent behaviour first."""
    capacity = math.ceil(top_k * len(choices) / experts * factor)
    served, kept = [0] * experts, [set() for _ in choices]
    for rank in range(top_k):
        for t in reversed(range(len(choices))):
            e = choices[t][rank]
            if served[e] < capacity:
                served[e] += 1
                kept[t].add(e)
    return kept


def gshard_token(encoder, w, c, catalog):
    gates = [torch.softmax(affine(w, "encoder.gate", token_features(c, t), 4), 0) for t in range(len(c.items))]
    choices = [best(g, 2) for g in gates]
    kept = within_capacity(choices, 4, 2, 1.25)
    weights = [{e: g[e] / (g[two[0]] + g[two[1]]) for e in some} for g, two, some in zip(gates, choices, kept)]
    return [by_token(encoder, w, c, weights), short_branch(encoder, w, c)], []


def switch(encoder, w, c, catalog):
    logits = affine(w, "encoder.gate", pooled_features(c), 4)
    p = torch.softmax(logits, 0)
    w.note("gates", p)
    w.note("logits", logits)
    first = best(p, 1)[0]
    return [mixed(encoder, w, c, {first: p[first]}), short_branch(encoder, w, c)], []


def switch_token(encoder, w, c, catalog):
    gates = [torch.softmax(affine(w, "encoder.gate", token_features(c, t), 4), 0) for t in range(len(c.items))]
    kept = within_capacity([best(g, 1) for g in gates], 4, 1, 1.25)
    weights = [{e: g[e] for e in some} for g, some in zip(gates, kept)]
    return [by_token(encoder, w, c, weights), short_branch(encoder, w, c)], []


def noisy_top_k(encoder, w, c, catalog):
    """Without noise: softmax over the two largest logits. The weights of the noise are there, and unused."""
    h = affine(w, "encoder.gate.clean", pooled_features(c), 4, bias=False)
    w.get("param.encoder.gate.noise.weight", 2 * D, 4)
    two = best(h, 2)
    g = torch.softmax(h[two], 0)
    return [mixed(encoder, w, c, dict(zip(two, g))), short_branch(encoder, w, c)], []


def dselect_k(encoder, w, c, catalog):
    """Two selectors of two bits each."""
    z = affine(w, "encoder.gate.bits", pooled_features(c), 4, bias=False)
    alpha = torch.softmax(affine(w, "encoder.gate.mixing", pooled_features(c), 2, bias=False), 0)

    def step(x):
        if x <= -0.5:
            return torch.zeros_like(x)
        return torch.ones_like(x) if x >= 0.5 else -2 * x**3 + 1.5 * x + 0.5

    selectors = []
    for i in range(2):
        low, high = step(z[2 * i]), step(z[2 * i + 1])
        of = [(low if e & 1 else 1 - low) * (high if e & 2 else 1 - high) for e in range(4)]
        selectors.append(torch.stack(of))
    w.note("selectors", torch.stack(selectors))
    weights = {e: sum(alpha[i] * selectors[i][e] for i in range(2)) for e in range(4)}
    return [mixed(encoder, w, c, weights), short_branch(encoder, w, c)], []


def expert_choice(encoder, w, c, catalog):
    n = len(c.items)
    scores = [torch.softmax(affine(w, "encoder.gate", token_features(c, t), 4, bias=False), 0) for t in range(n)]
    weights = [{} for _ in range(n)]
    for e in range(4):
        ranked = sorted(range(n), key=lambda t: (-scores[t][e].item(), -t))
        for t in ranked[: math.ceil(2 * n / 4)]:
            weights[t][e] = scores[t][e]
    return [by_token(encoder, w, c, weights), short_branch(encoder, w, c)], []


def dense(encoder, w, c, catalog):
    p = torch.softmax(affine(w, "encoder.gate", pooled_features(c), 4), 0)
    return [mixed(encoder, w, c, dict(enumerate(p))), short_branch(encoder, w, c)], []


def deepseek(encoder, w, c, catalog):
    s = torch.sigmoid(affine(w, "encoder.gate", pooled_features(c), 4, bias=False))
    bias = w.get("buffer.encoder.gate.bias", 4, 1, scale=0.3, grad=False)[:, 0]
    two = best(s + bias, 2)
    w.note("affinity", s)
    routed = mixed(encoder, w, c, {e: s[e] / (s[two[0]] + s[two[1]]) for e in two})
    return [routed + expert(encoder, w, "encoder.shared0.", c), short_branch(encoder, w, c)], []


def random_routing(encoder, w, c, catalog):
    """The expert with the smallest hash of (seed, target, items, expert); the seed stands in the file, 16 bits a number."""

    def split_mix(state, value):
        low = (1 << 64) - 1
        z = ((state ^ value) + 0x9E3779B97F4A7C15) & low
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & low
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & low
        return z ^ (z >> 31)

    if "buffer.encoder.gate.seed" not in w.all:
        w.all["buffer.encoder.gate.seed"] = torch.randint(0, 1 << 16, (4, 1), generator=w.draw).float()
    parts = w.all["buffer.encoder.gate.seed"][:, 0].tolist()
    key = split_mix(sum(int(part) << (16 * i) for i, part in enumerate(parts)), c.target_item)
    for item in c.items:
        key = split_mix(key, item)
    one = min(range(4), key=lambda e: split_mix(key, e))
    return [mixed(encoder, w, c, {one: 1.0}), short_branch(encoder, w, c)], []


def wide(encoder, w, c, catalog):
    """An encoder of width 12 between two linear maps."""
    up, down = w.get("param.encoder.lift.weight", D, 12), w.get("param.encoder.lower.weight", 12, D)
    interest = expert(encoder, w, "encoder.expert.", c.seen(c.target @ up, c.rows @ up))
    return [interest @ down, short_branch(encoder, w, c)], []


def theme_feature(encoder, w, c, catalog):
    """A vector of the theme added to every behaviour and to the target; the last row is for items without a theme."""
    content = w.get("table.encoder.router.content", ITEMS, D, scale=1.0, grad=False)
    vectors = content @ w.get("param.encoder.router.map", D, D, grad=False)
    themes = nearest(vectors, w.get("param.encoder.router.codes", CODES, D, grad=False))
    table = w.get("param.encoder.themes", CODES + 1, D, scale=0.5)
    of = lambda item: table[CODES if themes[item] is None else themes[item]]
    rows = torch.stack([h + of(i) for h, i in zip(c.rows, c.items)]) if c.items else c.rows
    told = c.seen(c.target + of(c.target_item), rows)
    return [expert(encoder, w, "encoder.expert.", told), short_branch(encoder, w, c)], []


def theme_loss(encoder, w, c, catalog):
    """The codes serve the loss alone."""
    w.get("param.encoder.router.codes", CODES, D, grad=False)
    return scales(encoder, w, c, catalog)


def themed(encoder, w, c, theme_of):
    """MoS for themes that are given: {item: theme or None}."""
    own = theme_of[c.target_item]
    mine = [t for t in range(len(c.items)) if own is not None and theme_of[c.items[t]] == own][-40:]
    evidence = 0.25 * math.log(1 + len(mine)) if own is not None else -0.5
    vectors = [
        expert(encoder, w, "encoder.global.", pooled(c, 4)),
        short_branch(encoder, w, c),
        expert(encoder, w, "encoder.theme.", c.pick(mine)),
    ]
    return vectors, [evidence]


def content_themes(encoder, w, c, catalog):
    """The nearest of fixed codes."""
    content = w.get("table.encoder.router.content", ITEMS, D, scale=1.0, grad=False)
    themes = nearest(content, w.get("param.encoder.router.codes", CODES, D, grad=False))
    return themed(encoder, w, c, themes)


def given_themes(encoder, w, c, catalog):
    """The theme of an item stands in the file; 65535 = none. No codes."""
    if "buffer.encoder.router.themes" not in w.all:
        drawn = torch.randint(0, 4, (ITEMS, 1), generator=w.draw).float()
        drawn[0] = 65535
        w.all["buffer.encoder.router.themes"] = drawn
        w.all["param.encoder.router.codes"] = torch.zeros(0, 1)
    drawn = w.all["buffer.encoder.router.themes"][:, 0].tolist()
    return themed(encoder, w, c, [None if theme == 65535 else int(theme) for theme in drawn])


MIXTURES = {
    "none": none,
    "scales": scales,
    "gshard": gshard,
    "gshard-bare": gshard_bare,
    "mos": mos,
    "mos-vq": mos_vq,
    "gshard-token": gshard_token,
    "switch": switch,
    "switch-token": switch_token,
    "noisy-top-k": noisy_top_k,
    "dselect-k": dselect_k,
    "expert-choice": expert_choice,
    "dense": dense,
    "deepseek": deepseek,
    "random-routing": random_routing,
    "wide": wide,
    "theme-feature": theme_feature,
    "theme-loss": theme_loss,
    "content_themes": content_themes,
    "random_themes": given_themes,
    "oracle_themes": given_themes,
    "same_category": given_themes,
}

# One seed for each file, so that a new mixture changes no other file.
MIXTURE_SEEDS = {
    "scales": 201,
    "gshard": 202,
    "gshard-bare": 203,
    "mos": 204,
    "mos-vq": 205,
    "gshard-token": 221,
    "switch": 222,
    "switch-token": 223,
    "noisy-top-k": 224,
    "dselect-k": 225,
    "expert-choice": 226,
    "dense": 227,
    "deepseek": 228,
    "random-routing": 229,
    "wide": 230,
    "theme-feature": 231,
    "theme-loss": 232,
    "content_themes": 233,
    "random_themes": 234,
    "oracle_themes": 235,
    "same_category": 236,
}

# Buffers of the router that a checkpoint has and loading derives: width of its routing vectors, number of codes.
ROUTERS = {name: (D, CODES) for name in ["mos", "mos-vq", "theme-feature", "theme-loss", "content_themes"]}
ROUTERS |= {name: (1, 0) for name in ["random_themes", "oracle_themes", "same_category"]}


# ---------------------------------------------------------------- heads: (weights, target, vectors, evidence) -> scalar


def dense(w, path, x, width):
    return x @ w.get(f"param.head.{path}.weight", len(x), width) + w.get(f"param.head.{path}.bias", 1, width, scale=0.3)[0]


def features(target, vectors, evidence):
    return torch.cat([target, *vectors, *[target * v for v in vectors], evidence])


def mlp(w, target, vectors, evidence):
    x = features(target, vectors, evidence)
    x = torch.relu(x @ w.get("param.head.0.weight", len(x), HEAD) + w.get("param.head.0.bias", 1, HEAD)[0])
    return (x @ w.get("param.head.1.weight", HEAD, 1) + w.get("param.head.1.bias", 1, 1)[0])[0]


def dcnv2(w, target, vectors, evidence, cross, hidden):
    """Wang et al. 2021, parallel: x_{l+1} = x_0 * (W x_l + b) + x_l beside an MLP."""
    x0 = features(target, vectors, evidence)
    x, deep = x0, x0
    for l in range(cross):
        x = x0 * dense(w, f"cross.{l}", x, len(x0)) + x
    for i, width in enumerate(hidden):
        deep = torch.relu(dense(w, f"deep.{i}", deep, width))
    return dense(w, "out", torch.cat([x, deep]), 1)[0]


def final_mlp(w, target, vectors, evidence, first, second, gate, heads):
    """Mao et al. 2023: gated features into two MLPs, fused by w_1 o_1 + w_2 o_2 + b + sum_h o_1h^T W_h o_2h."""
    e = features(target, vectors, evidence)
    outputs = []
    for name, context, hidden in [("first", target, first), ("second", torch.cat([*vectors, evidence]), second)]:
        g = context
        for i, width in enumerate(gate):
            g = torch.relu(dense(w, f"{name}.gate.{i}", g, width))
        x = e * 2 * torch.sigmoid(dense(w, f"{name}.gate.{len(gate)}", g, len(e)))
        for i, width in enumerate(hidden):
            x = torch.relu(dense(w, f"{name}.{i}", x, width))
        outputs.append(x)
    o1, o2 = outputs
    matrices = w.get("param.head.bilinear", len(o1), len(o2) // heads).reshape(heads, len(o1) // heads, len(o2) // heads)
    fused = torch.einsum("hi,hij,hj->", o1.reshape(heads, -1), matrices, o2.reshape(heads, -1))
    return dense(w, "out", torch.cat([o1, o2]), 1)[0] + fused


HEADS = {"mlp": mlp, "dcnv2": dcnv2, "final_mlp": final_mlp}


# ---------------------------------------------------------------- the click model


def logits(encoder, mixture, head, w, batch):
    items = w.get("table.items", ITEMS, D, scale=0.5)
    bias = w.get("table.item_bias", ITEMS, 1, scale=0.3)
    behaviours = w.get("param.behaviours", BEHAVIOURS, D, scale=0.3)
    out = []
    for b in range(len(LENGTHS)):
        at = range(batch["offsets"][b], batch["offsets"][b + 1])
        history = [batch["items"][t] for t in at]
        rows = items[history] + behaviours[[batch["behaviours"][t] for t in at]] if history else items[:0]
        target = items[batch["targets"][b]]
        sessions, times = [[batch[column][t] for t in at] for column in ("sessions", "times")]
        c = Context(target, rows, history, sessions, times, batch["targets"][b], batch["target_times"][b])
        vectors, evidence = MIXTURES[mixture](encoder, w, c, None)
        (name, sizes), = head.items()
        out.append(HEADS[name](w, target, vectors, torch.as_tensor(evidence, dtype=torch.float64), **sizes) + bias[batch["targets"][b], 0])
    return torch.stack(out)


def some_batch(seed):
    draw = torch.Generator().manual_seed(seed)
    number = lambda low, high: int(torch.randint(low, high, (1,), generator=draw))
    columns = ["items", "behaviours", "sessions", "times", "targets", "target_times", "labels"]
    batch = {"offsets": [0], **{column: [] for column in columns}}
    for b, n in enumerate(LENGTHS):
        batch["targets"].append(0 if b == 3 else number(1, ITEMS))  # one unknown target
        batch["labels"].append(b % 2)
        batch["target_times"].append(100_000)
        for t in range(n):
            batch["items"].append(0 if t == 2 else number(1, ITEMS))  # and unknown behaviours
            batch["behaviours"].append(number(0, BEHAVIOURS))
            batch["sessions"].append(t // 3)
            batch["times"].append(100_000 - 40 * (n - t) ** 2)  # gaps from 40 seconds to half an hour
        batch["offsets"].append(len(batch["items"]))
    return batch


def irregular_times(batch, seed):
    """From equal times to gaps of weeks, none of them, nor a sum of them, on the border of a bucket."""
    draw = torch.Generator().manual_seed(seed)
    batch["target_times"] = [50_000_000 + 1000 * b for b in range(len(LENGTHS))]
    batch["times"] = []
    for b, n in enumerate(LENGTHS):
        later = [batch["target_times"][b]]
        while len(later) <= n:
            t = later[0] - math.floor(math.exp(14 * float(torch.rand(1, generator=draw))) - 0.5)
            if all(inside_bucket(seconds - t) for seconds in later):
                later.insert(0, t)
        batch["times"] += later[:-1]


# ---------------------------------------------------------------- losses of models' own: (notes, labels) -> scalar


def balance(notes, labels):
    """E sum_e f_e P_e: share of first choices, mean gate."""
    gates = torch.stack(notes["gates"])
    first = torch.nn.functional.one_hot(gates.argmax(1), 4).double().mean(0)
    return 4 * (first * gates.mean(0)).sum()


def z_loss(notes, labels):
    return torch.logsumexp(torch.stack(notes["logits"]), 1).square().mean()


def selector_entropy(notes, labels):
    """Mean over samples of the sum over selectors of -sum p ln(p + 1e-6)."""
    p = torch.stack(notes["selectors"])
    return -(p * torch.log(p + 1e-6)).sum((1, 2)).mean()


def shard_balance(notes, labels):
    """sum_e f_e P_e with f_e = E / (k B) times the samples whose k largest s hold e, P_e the mean of s_e / sum s."""
    s = torch.stack(notes["affinity"])
    f = torch.nn.functional.one_hot(s.topk(2, 1).indices, 4).double().sum((0, 1)) * 4 / (2 * len(s))
    return (f * (s / s.sum(1, keepdim=True)).mean(0)).sum()


def search_clicks(notes, labels):
    return torch.nn.functional.binary_cross_entropy_with_logits(torch.stack(notes["search"]), labels)


def theme_information(notes, labels):
    """Minus the mutual information of the themes of behaviours 1, 2 and 4 apart in one session."""
    joint = torch.zeros(CODES, CODES, dtype=torch.float64)
    for c, vectors, codes in notes["themes"]:
        p = torch.softmax(unit(vectors) @ unit(codes).T / 0.2, 1)
        for t in range(len(c.items)):
            for u in [t + lag for lag in (1, 2, 4)]:
                if u < len(c.items) and c.sessions[t] == c.sessions[u]:
                    joint = joint + torch.outer(p[c.items[t]], p[c.items[u]])
    joint = (joint + joint.T) / (2 * joint.sum())
    share = joint.sum(1)
    return -(joint * torch.log((joint + 1e-9) / torch.outer(share + 1e-9, share + 1e-9))).sum()


def write(file, encoder, mixture, seed, options=None, head=None, irregular=False, mixture_options=None, losses=()):
    w, batch = Weights(seed, bool(losses)), some_batch(seed)
    if irregular:
        irregular_times(batch, seed)
    out = logits((encoder, options or {}), mixture, head or {"mlp": {}}, w, batch)
    labels = torch.tensor(batch["labels"], dtype=torch.float64)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(out, labels)
    (loss + sum(own(w.notes, labels) for own in losses)).backward()
    tensors = {name: value.detach().contiguous() for name, value in w.all.items()}
    for name, value in w.all.items():
        if value.requires_grad:
            grad = value.grad if value.grad is not None else torch.zeros_like(value)
            tensors[f"expected.grad.{name}"] = grad.float().contiguous()
    if mixture in ROUTERS:
        width, codes = ROUTERS[mixture]
        for name, shape in [("themes", (ITEMS, 1)), ("lookup", (ITEMS, width)), ("usage", (codes, 1))]:
            tensors.setdefault(f"buffer.encoder.router.{name}", torch.zeros(shape))
    tensors["expected.logits"] = out.detach().float()
    metadata = {
        "encoder": encoder,
        "mixture": mixture,
        "batch": json.dumps(batch),
        "provenance": f"mos-baselines/tests/golden/reference.py, seed {seed}, torch {torch.__version__}",
    }
    if head:
        metadata["head"] = json.dumps(head)
    if mixture_options:
        metadata["mixture_options"] = json.dumps(mixture_options)
    if losses:
        metadata["losses"] = "true"
    if options:
        metadata["options"] = json.dumps(options)
    save_file(tensors, pathlib.Path(__file__).parent / f"{file}.safetensors", metadata)
    print(file, [round(x, 4) for x in out.tolist()])


# Seeds of <encoder>-none, <encoder>-none-small and twin-<mixture>.
ALONE = {
    "mean": 100,
    "din": 101,
    "twin": 102,
    "sdim": 103,
    "dien": 104,
    "bst": 105,
    "sim": 106,
    "sim-hard": 107,
    "eta": 108,
    "mirrn": 109,
    "transact": 110,
    "mamba4rec": 111,
    "hstu": 112,
    "attenmixer": 113,
    "miasrec": 114,
}
CUT = {
    "twin": 150,
    "sdim": 151,
    "bst": 152,
    "sim": 153,
    "sim-hard": 154,
    "eta": 155,
    "mirrn": 156,
    "transact": 157,
    "mamba4rec": 158,
    "hstu": 159,
    "attenmixer": 160,
    "miasrec": 161,
}
# Of each file what write() needs. The first four encoders read no times.
FILES = {
    **{f"{name}-none": dict(encoder=name, mixture="none", seed=seed, irregular=seed > 103) for name, seed in ALONE.items()},
    **{
        f"{name}-none-small": dict(encoder=name, mixture="none", seed=seed, options=SMALL[name], irregular=True)
        for name, seed in CUT.items()
    },
    **{f"twin-{mixture}": dict(encoder="twin", mixture=mixture, seed=seed) for mixture, seed in MIXTURE_SEEDS.items()},
    "sim-none-losses": dict(encoder="sim", mixture="none", seed=400, losses=[search_clicks]),
    "twin-gshard-losses": dict(
        encoder="twin", mixture="gshard", seed=401, mixture_options={"balance": 1.0}, losses=[balance]
    ),
    "twin-switch-losses": dict(
        encoder="twin",
        mixture="switch",
        seed=402,
        mixture_options={"balance": 1.0, "z_loss": 1.0},
        losses=[balance, z_loss],
    ),
    "twin-dselect-k-losses": dict(
        encoder="twin", mixture="dselect-k", seed=403, mixture_options={"entropy": 1.0}, losses=[selector_entropy]
    ),
    "twin-deepseek-losses": dict(
        encoder="twin", mixture="deepseek", seed=404, mixture_options={"balance": 1.0}, losses=[shard_balance]
    ),
    "twin-mos-losses": dict(
        encoder="twin",
        mixture="mos",
        seed=405,
        mixture_options={"codebook": {"mutual_information": {"weight": 1.0}}},
        losses=[theme_information],
    ),
    "mean-none-dcnv2": dict(encoder="mean", mixture="none", seed=300, head={"dcnv2": {"cross": 2, "hidden": [6, 4]}}),
    "mean-none-final_mlp": dict(
        encoder="mean",
        mixture="none",
        seed=301,
        head={"final_mlp": {"first": [6, 4], "second": [5, 6], "gate": [5], "heads": 2}},
    ),
}

if __name__ == "__main__":
    for file in sys.argv[1:] or FILES:
        write(file, **FILES[file])
