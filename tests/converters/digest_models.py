"""Save one small model of each family that is pickled or plain ONNX, and rows for it.

Runs in a process of its own: `python -m tests.converters.digest_models FOLDER`.
"""

import pickle
import sys
from pathlib import Path

import lightgbm
import numpy as np
import xgboost
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.converters import networks

ROWS = 300
PICKLED = ("forest", "isolation", "boosted", "histogram", "mlp", "xgboost", "lightgbm")


def main(folder: Path) -> None:
    """Save NAME.pkl of each, net.onnx, and NAME.rows.npy."""
    rows = np.random.default_rng(8).normal(0, 1, (ROWS, 6)).astype(np.float32)
    kinds = (rows[:, 0] * rows[:, 1] > 0).astype(int) + (rows[:, 2] > 1)
    models = (
        RandomForestClassifier(12, max_depth=6, random_state=1).fit(rows, kinds),
        IsolationForest(n_estimators=10, random_state=1).fit(rows),
        GradientBoostingRegressor(n_estimators=10, random_state=1).fit(rows, rows[:, 0]),
        HistGradientBoostingClassifier(max_iter=5, random_state=1).fit(rows, kinds),
        make_pipeline(
            StandardScaler(), MLPClassifier((24, 24), max_iter=60, random_state=1)
        ).fit(rows, kinds),
        xgboost.XGBClassifier(n_estimators=8, max_depth=4).fit(rows, kinds),
        lightgbm.LGBMClassifier(n_estimators=8, num_leaves=9, verbose=-1).fit(rows, kinds),
    )
    for name, model in zip(PICKLED, models, strict=True):
        folder.joinpath(f"{name}.pkl").write_bytes(pickle.dumps(model))
        np.save(folder / f"{name}.rows.npy", rows)
    folder.joinpath("net.onnx").write_bytes(networks.classifier().SerializeToString())
    np.save(folder / "net.rows.npy", networks.images(ROWS))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
