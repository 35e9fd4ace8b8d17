"""Train two versions of a wine classifier and register them in a local MLflow.

Knows scikit-learn and MLflow as any user does, and nothing of edgekit.
"""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

MODEL = "wine"
DATABASE = "mlflow.db"
HOLDOUT = 0.4
SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What was registered, and the rows that no version has seen.

    `accuracies` has the original's held-out accuracy by version.
    """

    registry_uri: str
    holdout_csv: Path
    accuracies: dict[str, float]


def train(folder: Path) -> Trained:
    """Train and register versions 1 and 2; put version 1 in stage Production."""
    import mlflow  # noqa: PLC0415 - seconds to import: only when it is needed
    import numpy as np  # noqa: PLC0415 - same
    from sklearn.datasets import load_wine  # noqa: PLC0415 - same
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 - same
    from sklearn.neural_network import MLPClassifier  # noqa: PLC0415 - same
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415 - same
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 - same

    uri = f"sqlite:///{folder / DATABASE}"
    # cloudpickle executes code when it is loaded, as MLflow warns: it is our own here.
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment(MODEL, (folder / "artifacts").as_uri())
    mlflow.set_experiment(MODEL)
    rows, labels = load_wine(return_X_y=True, as_frame=True)
    rows.columns = [name.replace("/", "_") for name in rows.columns]
    kept = train_test_split(
        rows, labels, test_size=HOLDOUT, random_state=SEED, stratify=labels
    )
    train_rows, held_rows, train_labels, held_labels = kept
    accuracies = {}
    for version, hidden in (("1", (64, 32)), ("2", (128, 64))):
        network = MLPClassifier(hidden, max_iter=400, random_state=SEED)
        pipeline = make_pipeline(StandardScaler(), network).fit(train_rows, train_labels)
        accuracies[version] = float(pipeline.score(held_rows, held_labels))
        with mlflow.start_run(run_name=f"{MODEL} {hidden}"):
            mlflow.log_params({"hidden": str(hidden), "seed": SEED})
            mlflow.log_metric("holdout_accuracy", accuracies[version])
            mlflow.sklearn.log_model(
                pipeline,
                name="model",
                registered_model_name=MODEL,
                signature=mlflow.models.infer_signature(
                    train_rows, np.asarray(pipeline.predict(train_rows))
                ),
                input_example=train_rows.head(5),
                serialization_format="cloudpickle",
            )
    promote(uri, "1")
    holdout = folder / "holdout.csv"
    held_rows.assign(**{"class": held_labels}).to_csv(holdout, index=False)
    return Trained(registry_uri=uri, holdout_csv=holdout, accuracies=accuracies)


def promote(uri: str, version: str) -> None:
    """Move a version to stage Production, as an operator does in MLflow."""
    import mlflow  # noqa: PLC0415 - seconds to import: only when it is needed

    with warnings.catch_warnings():
        # Stages are deprecated in MLflow, and still what registries hold.
        warnings.simplefilter("ignore", FutureWarning)
        mlflow.MlflowClient(uri, uri).transition_model_version_stage(
            MODEL, version, "Production", archive_existing_versions=True
        )
