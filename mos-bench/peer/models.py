"""The models of mos-baselines in PyTorch, as its users write them: padded batches, whole matrices, a mask, published forms.

Rows are [B, L, d], newest last and right-aligned, `mask` [B, L] says which are behaviours. Each encoder returns the vectors
that stand beside the target in the head. The same functions as in mos-baselines/tests/golden/encoders.py, sample by sample
there, and as in mos-baselines/src/encoders, where they are folded, but for ties of `topk` (ETA); nothing tests it.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def xavier(rows, columns):
    return nn.Parameter(torch.randn(rows, columns) * math.sqrt(2 / (rows + columns)))


def mlp(widths):
    layers = []
    for i, (a, b) in enumerate(zip(widths, widths[1:])):
        layers += [nn.Linear(a, b)] + ([nn.ReLU()] if i + 2 < len(widths) else [])
    return nn.Sequential(*layers)


def gather(rows, index):
    """rows[b, index[b, k]]"""
    return rows.gather(1, index[..., None].expand(-1, -1, rows.shape[-1]))


class TargetAttention(nn.Module):
    """Multi-head, of one query, without biases; over the `top_k` best of each head where it is given."""

    def __init__(self, d, heads, top_k=None):
        super().__init__()
        self.heads, self.top_k = heads, top_k
        self.query, self.key, self.value, self.out = (nn.Linear(d, d, bias=False) for _ in range(4))

    def forward(self, target, rows, mask):
        (b, n, d), h = rows.shape, self.heads
        split = lambda x: x.view(b, -1, h, d // h).transpose(1, 2)
        q, k, v = split(self.query(target)), split(self.key(rows)), split(self.value(rows))
        scores = (q @ k.transpose(-1, -2)).squeeze(2) / math.sqrt(d // h)
        scores = scores.masked_fill(~mask[:, None], -1e9)
        if self.top_k and self.top_k < n:
            scores, best = scores.topk(self.top_k, sorted=False)
            v = v.gather(2, best[..., None].expand(-1, -1, -1, d // h))
        weights = scores.softmax(-1).unsqueeze(2)
        return self.out((weights @ v).transpose(1, 2).reshape(b, d))


class Short(nn.Module):
    def __init__(self, d, heads, short):
        super().__init__()
        self.short, self.attention = short, TargetAttention(d, heads)

    def forward(self, target, rows, mask):
        return self.attention(target, rows[:, -self.short :], mask[:, -self.short :])


class Din(nn.Module):
    positions, vectors = True, 1

    def __init__(self, d, hidden):
        super().__init__()
        self.score = mlp([4 * d, *hidden, 1])

    def forward(self, target, rows, mask):
        q = target[:, None].expand_as(rows)
        weights = self.score(torch.cat([q, rows, q - rows, q * rows], -1)) * mask[..., None]
        return [(weights * rows).sum(1)]


class Sim(nn.Module):
    positions, vectors = True, 2

    def __init__(self, d, top_k, heads, short):
        super().__init__()
        self.top_k = top_k
        self.a, self.b = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.clicks = mlp([2 * d, 2 * d, 1])
        self.attention, self.short = TargetAttention(d, heads), Short(d, heads, short)

    def forward(self, target, rows, mask):
        scores = (self.b(rows) @ self.a(target)[..., None]).squeeze(-1)
        if self.training:
            pooled = ((scores * mask)[:, None] @ rows).squeeze(1)
            self.own = self.clicks(torch.cat([target, pooled], -1)).squeeze(-1)
        k = min(self.top_k, rows.shape[1])
        best = scores.masked_fill(~mask, -math.inf).topk(k).indices
        long = self.attention(target, gather(rows, best), mask.gather(1, best))
        return [long, self.short(target, rows, mask)]


class Eta(nn.Module):
    positions, vectors = True, 2

    def __init__(self, d, bits, top_k, heads, short):
        super().__init__()
        self.bits, self.top_k = bits, top_k
        self.register_buffer("planes", torch.randn(d, bits))
        self.attention, self.short = TargetAttention(d, heads), Short(d, heads, short)

    def forward(self, target, rows, mask):
        with torch.no_grad():
            differ = (rows @ self.planes > 0) != (target @ self.planes > 0)[:, None]
            distance = differ.sum(-1).masked_fill(~mask, self.bits + 1)
            best = distance.topk(min(self.top_k, rows.shape[1]), largest=False).indices
        long = self.attention(target, gather(rows, best), mask.gather(1, best))
        return [long, self.short(target, rows, mask)]


class Sdim(nn.Module):
    positions, vectors = True, 2

    def __init__(self, d, hashes, bits, heads, short):
        super().__init__()
        self.shape = (hashes, bits)
        self.register_buffer("planes", torch.randn(d, hashes * bits))
        self.register_buffer("powers", 2.0 ** torch.arange(bits))
        self.out, self.short = nn.Linear(d, d, bias=False), Short(d, heads, short)

    def forward(self, target, rows, mask):
        with torch.no_grad():
            code = lambda x: (x @ self.planes > 0).unflatten(-1, self.shape).float() @ self.powers
            same = (code(rows) == code(target)[:, None]) & mask[..., None]
        buckets = same.to(rows.dtype).transpose(1, 2) @ rows
        return [self.out(F.normalize(buckets, dim=-1).mean(1)), self.short(target, rows, mask)]


class Twin(nn.Module):
    positions, vectors = True, 2

    def __init__(self, d, top_k, heads, short):
        super().__init__()
        self.attention, self.short = TargetAttention(d, heads, top_k), Short(d, heads, short)

    def forward(self, target, rows, mask):
        return [self.attention(target, rows, mask), self.short(target, rows, mask)]


class TransAct(nn.Module):
    positions, vectors = False, 1

    def __init__(self, d, layers, heads, feed_forward, first_k):
        super().__init__()
        layer = nn.TransformerEncoderLayer(2 * d, heads, feed_forward, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.first_k, self.out = first_k, nn.Linear(2 * d * first_k, d, bias=False)

    def forward(self, target, rows, mask):
        tokens = torch.cat([rows, target[:, None].expand_as(rows)], -1)
        tokens = self.encoder(tokens, src_key_padding_mask=~mask)
        return [self.out(tokens[:, -self.first_k :].flatten(1))]


class Mamba(nn.Module):
    """The block in PyTorch operations alone: there is no kernel of it for CPUs. States are kept for the beginnings of pieces
    and computed again in the backward pass, as the published kernel does; all of them would not fit into memory."""

    PIECE = 32

    def __init__(self, d, state, convolution, expand):
        super().__init__()
        e, self.rank, self.state = expand * d, -(-d // 16), state
        self.input, self.select = nn.Linear(d, 2 * e, bias=False), nn.Linear(e, self.rank + 2 * state, bias=False)
        self.conv = nn.Conv1d(e, e, convolution, groups=e, padding=convolution - 1)
        self.delta, self.out = nn.Linear(self.rank, e), nn.Linear(e, d, bias=False)
        self.a_log = nn.Parameter(torch.log(torch.arange(1, state + 1).float()).repeat(e, 1))
        self.skip = nn.Parameter(torch.ones(e))

    @staticmethod
    def scan(h, x, delta, a, b, c):
        decay, gain = torch.exp(delta[..., None] * a), (delta * x)[..., None] * b[:, :, None]
        ys = []
        for t in range(x.shape[1]):
            h = torch.addcmul(gain[:, t], decay[:, t], h)
            ys.append((h @ c[:, t, :, None]).squeeze(-1))
        return h, torch.stack(ys, 1)

    def forward(self, u, mask):
        n = u.shape[1]
        x, z = self.input(u).chunk(2, -1)
        x = F.silu(self.conv(x.transpose(1, 2))[..., :n].transpose(1, 2)) * mask[..., None]
        low, b, c = self.select(x).split([self.rank, self.state, self.state], -1)
        delta, a = F.softplus(self.delta(low)), -torch.exp(self.a_log)
        h, ys = x.new_zeros(x.shape[0], x.shape[2], self.state), []
        for piece in zip(*(v.split(self.PIECE, 1) for v in (x, delta, b, c))):
            x_, delta_, b_, c_ = piece
            scan = (h, x_, delta_, a, b_, c_)
            h, y = checkpoint(self.scan, *scan, use_reentrant=False) if self.training else self.scan(*scan)
            ys.append(y)
        y = torch.cat(ys, 1) + self.skip * x
        return self.out(y * F.silu(z))


class Mamba4Rec(nn.Module):
    positions, vectors = False, 1

    def __init__(self, d, layers, state, convolution, expand, dropout):
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(d), nn.Dropout(dropout)
        block = lambda: nn.ModuleList(
            [Mamba(d, state, convolution, expand), nn.LayerNorm(d), nn.Linear(d, 4 * d), nn.Linear(4 * d, d), nn.LayerNorm(d)]
        )
        self.layers = nn.ModuleList(block() for _ in range(layers))

    def forward(self, target, rows, mask):
        x = self.norm(self.dropout(rows))
        for mamba, first, up, down, second in self.layers:
            seen = self.dropout(mamba(x, mask))
            seen = first(seen + x if len(self.layers) > 1 else seen)
            x = second(self.dropout(down(self.dropout(F.gelu(up(seen))))) + seen)
        return [x[:, -1]]


ENCODERS = {
    "din": Din, "sim": Sim, "eta": Eta, "sdim": Sdim, "twin": Twin, "transact": TransAct, "mamba4rec": Mamba4Rec,
}  # fmt: skip


class Model(nn.Module):
    """Item vectors, positions where the encoder wants them, encoder, MLP on [q; interests; q * interests], item bias."""

    def __init__(self, items, d, hidden, encoder, options):
        super().__init__()
        self.items, self.bias = nn.Embedding(items + 1, d, padding_idx=0), nn.Embedding(items + 1, 1)
        nn.init.normal_(self.items.weight, std=0.05)
        nn.init.zeros_(self.bias.weight)
        self.encoder = ENCODERS[encoder](d, **options)
        self.positions = nn.Parameter(torch.randn(16, d) * 0.05) if self.encoder.positions else None
        self.head = mlp([d * (1 + 2 * self.encoder.vectors), *hidden, 1])

    def forward(self, histories, targets):
        rows, target, mask = self.items(histories), self.items(targets), histories > 0
        if self.positions is not None:
            rank = torch.arange(histories.shape[1] - 1, -1, -1)
            rows = rows + self.positions[(2 * torch.log2(rank + 1.0)).long().clamp_max(15)]
        interests = self.encoder(target, rows, mask)
        features = torch.cat([target, *interests, *(target * i for i in interests)], -1)
        return (self.head(features) + self.bias(targets)).squeeze(-1)
