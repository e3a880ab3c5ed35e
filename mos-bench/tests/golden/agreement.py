"""Agreement of random labellings by scikit-learn, for tests/agreement.rs.

    pip install numpy scikit-learn
    python agreement.py          # writes agreement.json beside this file
"""

import json
import pathlib

import numpy as np
import sklearn
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

draw = np.random.default_rng(20261125)
cases = []
for n, themes, categories, noise in [(10, 2, 3, 0.5), (200, 8, 8, 0.0), (500, 8, 40, 0.3), (1000, 32, 5, 1.0)]:
    category = draw.integers(0, categories, n)
    theme = np.where(draw.random(n) < noise, draw.integers(0, themes, n), category % themes)
    table = contingency_matrix(theme, category)
    cases.append(
        {
            "themes": theme.tolist(),
            "categories": category.tolist(),
            "nmi": normalized_mutual_info_score(category, theme),
            # scikit-learn has no purity; this is its definition on scikit-learn's contingency table.
            "purity": float(table.max(axis=1).sum() / table.sum()),
        }
    )
out = {"provenance": f"mos-bench/tests/golden/agreement.py, scikit-learn {sklearn.__version__}", "cases": cases}
pathlib.Path(__file__).with_name("agreement.json").write_text(json.dumps(out) + "\n")
