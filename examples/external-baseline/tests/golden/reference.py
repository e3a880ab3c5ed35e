"""An independent reference of the click model around `half-life`, in PyTorch: a plain loop over samples and behaviours.

    pip install torch numpy safetensors
    python reference.py            # writes half-life-none.safetensors beside this file

The file holds random weights under the names of a checkpoint, a batch, and what PyTorch makes of them: `expected.logits`
and the gradients of the mean click loss, `expected.grad.<name>`. tests/golden.rs loads the weights and compares.
"""

import json
import pathlib

import torch
from safetensors.torch import save_file

# Sizes of the conformance kit.
D, HEAD, ITEMS, BEHAVIOURS = 8, 6, 31, 3
LENGTHS = [7, 0, 1, 12, 25, 3]
HEADS = 4


# ANCHOR: encoder
def half_life(w, path, rows):
    """[n, d] -> [d]: each block of columns is averaged with weights 2^(-rank / half-life) that sum to one."""
    decay, out = w(f"param.{path}decay", 1, HEADS), w(f"param.{path}out.weight", D, D)
    if not len(rows):
        return torch.zeros(D, dtype=torch.float64)
    blocks, size = [], D // HEADS
    for h in range(HEADS):
        rate = torch.log(1 + torch.exp(decay[0, h]))
        weights = [torch.exp(-rate * (len(rows) - 1 - t)) for t in range(len(rows))]
        total = sum(weight * row[h * size : (h + 1) * size] for weight, row in zip(weights, rows))
        blocks.append(total / sum(weights))
    return torch.cat(blocks) @ out
# ANCHOR_END: encoder


class Weights:
    """Leaves by name, drawn when first asked for."""

    def __init__(self, seed):
        self.draw = torch.Generator().manual_seed(seed)
        self.all = {}

    def __call__(self, name, *shape, scale=None):
        if name not in self.all:
            value = torch.randn(*shape, generator=self.draw) * (scale or (2 / sum(shape)) ** 0.5)
            if name.startswith("table."):
                value[0] = 0  # the unknown item
            self.all[name] = value.requires_grad_()
        # Computed in double precision: what is compared against should not err itself.
        return self.all[name].double()


def logits(w, batch):
    items, bias = w("table.items", ITEMS, D, scale=0.5), w("table.item_bias", ITEMS, 1, scale=0.3)
    behaviours = w("param.behaviours", BEHAVIOURS, D, scale=0.3)
    out = []
    for b, target in enumerate(batch["targets"]):
        at = range(batch["offsets"][b], batch["offsets"][b + 1])
        rows = [items[batch["items"][t]] + behaviours[batch["behaviours"][t]] for t in at]
        vector = half_life(w, "encoder.half-life.", rows)
        x = torch.cat([items[target], vector, items[target] * vector])
        x = torch.relu(x @ w("param.head.0.weight", 3 * D, HEAD) + w("param.head.0.bias", 1, HEAD)[0])
        x = x @ w("param.head.1.weight", HEAD, 1) + w("param.head.1.bias", 1, 1)[0]
        out.append(x[0] + bias[target, 0])
    return torch.stack(out)


def some_batch(seed):
    draw = torch.Generator().manual_seed(seed)
    number = lambda low, high: int(torch.randint(low, high, (1,), generator=draw))
    columns = ["items", "behaviours", "sessions", "times", "targets", "target_times", "labels"]
    batch = {"offsets": [0], **{column: [] for column in columns}}
    for b, n in enumerate(LENGTHS):
        batch["targets"].append(number(1, ITEMS))
        batch["labels"].append(b % 2)
        batch["target_times"].append(100_000)
        for t in range(n):
            batch["items"].append(number(1, ITEMS))
            batch["behaviours"].append(number(0, BEHAVIOURS))
            batch["sessions"].append(t // 3)
            batch["times"].append(100_000 - 700 * (n - t))
        batch["offsets"].append(len(batch["items"]))
    return batch


if __name__ == "__main__":
    w, batch = Weights(1), some_batch(1)
    out = logits(w, batch)
    labels = torch.tensor(batch["labels"], dtype=torch.float64)
    torch.nn.functional.binary_cross_entropy_with_logits(out, labels).backward()
    tensors = {name: value.detach().contiguous() for name, value in w.all.items()}
    tensors |= {f"expected.grad.{name}": value.grad.contiguous() for name, value in w.all.items()}
    tensors["expected.logits"] = out.detach().float()
    metadata = {
        "encoder": "half-life",
        "mixture": "none",
        "batch": json.dumps(batch),
        "provenance": f"reference.py, seed 1, torch {torch.__version__}",
    }
    save_file(tensors, pathlib.Path(__file__).parent / "half-life-none.safetensors", metadata)
    print([round(x, 4) for x in out.tolist()])
