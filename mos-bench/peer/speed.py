"""Times PyTorch models of the sizes of an experiment file, to stand beside `mos-bench speed`.

    pip install -r mos-bench/peer/requirements.txt
    python mos-bench/peer/speed.py > peer.json
    cargo run --release -p mos-bench -- speed --config configs/speed/widths-64.toml --uniform --peer peer.json

A training step: forward, binary cross-entropy, backward, clip of the norm, Adam over all rows, on a batch that is there.
Scoring: a batch, without gradients. Each case is a process of its own, in two setups. default: as PyTorch comes. tuned: the
allocator of the C library is told to keep its pages, which otherwise are given back and faulted in anew for each large result,
and to ask for large ones, and Adam is the fused one.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
TUNED = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "20000000000",
    "MALLOC_TOP_PAD_": "268435456",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
MODELS = "din,sim,eta,sdim,twin,transact,mamba4rec"


def spread(seconds):
    ms = sorted(1000 * s for s in seconds)
    at = lambda q: ms[round((len(ms) - 1) * q)]
    return {"low": at(0.25), "median": statistics.median(ms), "high": at(0.75)}


def repeat(work, args):
    """Times of `work`, after one that is not counted: as many as fit into the time, at least as many as asked for."""
    work()
    times, end = [], time.perf_counter() + args.seconds
    while len(times) < args.repeats or (time.perf_counter() < end and len(times) < 50):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def peak_bytes():
    line = next(l for l in pathlib.Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def histories(torch, length, args):
    """Uniform items; full histories, or lengths whose logarithm is uniform, padded to the longest on the left."""
    items = torch.randint(1, args.items + 1, (args.batch, length))
    if args.varied:
        lengths = torch.exp(torch.rand(args.batch) * torch.log(torch.tensor(length + 1.0))).long().clamp(1, length)
        items[torch.arange(length) < (length - lengths)[:, None]] = 0
        items = items[:, length - int(lengths.max()) :]
    return items


def case(name, length, args):
    import torch

    from models import Model

    bare = peak_bytes()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    # The fused layer of inference builds all L x L scores of a batch; without it scoring takes the attention of training.
    torch.backends.mha.set_fastpath_enabled(False)
    config = tomllib.loads(pathlib.Path(args.config).read_text())
    train, sizes = config["train"], config["model"]
    (hidden,) = sizes["head"]["mlp"].values()
    model = Model(args.items, sizes["dim"], hidden, name, config["options"][name])
    adam = torch.optim.Adam(model.parameters(), lr=train["adam"]["lr"], fused=args.setup == "tuned")
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    items, targets = histories(torch, length, args), torch.randint(1, args.items + 1, (args.batch,))
    labels = torch.arange(args.batch).remainder(2).float()

    def step():
        logits = model(items, targets)
        total = loss(logits, labels)
        if hasattr(model.encoder, "own"):
            total = total + loss(model.encoder.own, labels)
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), train["clip"])
        adam.step()
        adam.zero_grad()

    def score():
        with torch.no_grad():
            model(items, targets).numpy()

    model.train()
    step()
    trained = repeat(step, args)
    model.eval()
    scored = repeat(score, args)
    print(
        json.dumps(
            {
                "encoder": name, "length": length, "batch": args.batch, "items": args.items, "dim": sizes["dim"],
                "varied": args.varied,
                "setup": args.setup, "threads": args.threads, "steps": len(trained),
                "train_ms": spread(trained), "score_ms": spread(scored), "peak_bytes": peak_bytes(), "bare_bytes": bare,
            }
        )
    )  # fmt: skip


def ceiling(threads):
    import torch

    torch.set_num_threads(threads)
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    times = []
    for _ in range(15):
        start = time.perf_counter()
        a @ b
        times.append(time.perf_counter() - start)
    return 2e-9 * 1024**3 / statistics.median(times[3:])


def main():
    parse = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument("--config", default=str(ROOT / "configs/speed/widths-64.toml"), help="sizes")
    parse.add_argument("--models", default=MODELS)
    parse.add_argument("--lengths", default="100,500,1000")
    parse.add_argument("--batch", type=int, default=256)
    parse.add_argument("--items", type=int, default=100_000)
    parse.add_argument("--threads", type=int, default=os.cpu_count())
    parse.add_argument("--varied", action="store_true", help="log-uniform lengths up to the length, padded to the longest")
    parse.add_argument("--repeats", type=int, default=7, help="timed steps at least")
    parse.add_argument("--seconds", type=float, default=1.0, help="and as many, up to 50, as take this long")
    parse.add_argument("--setups", default="default,tuned")
    parse.add_argument("--setup", default="default", help=argparse.SUPPRESS)
    parse.add_argument("--case", action="store_true", help="time one case in this process")
    args = parse.parse_args()
    lengths = [int(l) for l in args.lengths.split(",")]
    if args.case:
        return case(args.models, lengths[0], args)
    import torch

    cases = []
    for name in args.models.split(","):
        for length in lengths:
            for setup in args.setups.split(","):
                again = [sys.executable, __file__, "--case", "--models", name, "--lengths", str(length), "--setup", setup]
                for option in ("config", "batch", "items", "threads", "repeats", "seconds"):
                    again += [f"--{option}", str(getattr(args, option))]
                again += ["--varied"] if args.varied else []
                print(f"{name}, {length} behaviours, {setup}", file=sys.stderr)
                env = os.environ | (TUNED if setup == "tuned" else {})
                done = subprocess.run(again, env=env, stdout=subprocess.PIPE)
                if done.returncode:
                    print(f"  no measurement: it ended with {done.returncode}", file=sys.stderr)
                    continue
                cases.append(json.loads(done.stdout))
    what = f"PyTorch {torch.__version__}"
    print(json.dumps({"peer": what, "ceiling_gflops": ceiling(args.threads), "cases": cases}, indent=1))


if __name__ == "__main__":
    main()
