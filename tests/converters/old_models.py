"""Log models with an old MLflow and an old scikit-learn, inside their environment.

`python old_models.py FOLDER`, run by the interpreter of that environment: neither edgekit
nor the tests' own libraries are there. NAME.answers.json holds the original's answers.
"""

import json
import sys
from pathlib import Path

import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

RNG = np.random.RandomState(3)
FRAME = pd.DataFrame(
    {
        "width": RNG.normal(size=200),
        "height": RNG.normal(size=200),
        "city": RNG.choice(["Bilbao", "Eibar"], 200),
    }
)
LABELS = np.where(FRAME["width"] + FRAME["height"] > 0, "wide", "narrow")


def main(folder: Path) -> None:
    columns = ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(), StandardScaler()), ["width", "height"]),
            ("c", OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ]
    )
    forest = make_pipeline(columns, RandomForestClassifier(10, random_state=0))
    log(forest, FRAME, folder / "forest")
    boosting = GradientBoostingClassifier(n_estimators=10, random_state=0)
    log(boosting, FRAME[["width", "height"]], folder / "boosting")


def log(model: object, frame: pd.DataFrame, folder: Path) -> None:
    model.fit(frame, LABELS)  # type: ignore[attr-defined]  # an estimator
    answers = model.predict(frame)  # type: ignore[attr-defined]  # as above
    signature = infer_signature(frame, answers)
    mlflow.sklearn.save_model(
        model, str(folder), signature=signature, input_example=frame[:40]
    )
    Path(f"{folder}.answers.json").write_text(json.dumps(answers[:40].tolist()), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
