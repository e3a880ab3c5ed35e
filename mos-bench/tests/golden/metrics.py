"""Metrics of random scores by scikit-learn, for tests/metrics.rs.

    pip install numpy scikit-learn
    python metrics.py            # writes metrics.json beside this file
"""

import json
import pathlib

import numpy as np
import sklearn
from sklearn.metrics import log_loss, roc_auc_score

draw = np.random.default_rng(20261124)
cases = []
for n, users, decimals in [(12, 3, 1), (200, 9, 1), (200, 40, 6), (1000, 60, 2)]:
    # Few decimals make ties; f32, as the harness scores.
    logits = np.round(draw.normal(0, 1.5, n), decimals).astype(np.float32)
    labels = (draw.random(n) < 1 / (1 + np.exp(-logits + draw.normal(0, 1, n)))).astype(int)
    groups = draw.integers(0, users, n)
    by_group = []
    for g in np.unique(groups):
        y = labels[groups == g]
        if 0 < y.sum() < len(y):
            by_group.append((roc_auc_score(y, logits[groups == g]), len(y), y.sum()))
    by_group = np.array(by_group)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    cases.append(
        {
            "logits": [float(x) for x in logits],
            "labels": labels.tolist(),
            "groups": groups.tolist(),
            "auc": roc_auc_score(labels, logits),
            "log_loss": log_loss(labels, p),
            "gauc": {
                "impressions": np.average(by_group[:, 0], weights=by_group[:, 1]),
                "positives": np.average(by_group[:, 0], weights=by_group[:, 2]),
                "uniform": by_group[:, 0].mean(),
            },
            "groups_used": len(by_group),
            "groups_total": len(np.unique(groups)),
        }
    )
out = {"provenance": f"mos-bench/tests/golden/metrics.py, scikit-learn {sklearn.__version__}", "cases": cases}
pathlib.Path(__file__).with_name("metrics.json").write_text(json.dumps(out) + "\n")
