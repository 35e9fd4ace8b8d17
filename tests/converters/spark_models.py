"""Log Spark ML pipelines with MLflow, in a process of its own.

`python -m tests.converters.spark_models FOLDER` leaves one model folder a name, and the
answers of MLflow's own python_function on its example (NAME.answers.json).
"""

import json
import os
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from pyspark.ml import Estimator, Pipeline, Transformer
from pyspark.ml.classification import (
    GBTClassifier,
    LogisticRegression,
    RandomForestClassifier,
)
from pyspark.ml.feature import StandardScaler, StringIndexer, VectorAssembler
from pyspark.ml.regression import LinearRegression, RandomForestRegressor
from pyspark.sql import SparkSession

RNG = np.random.default_rng(2)
FRAME = pd.DataFrame(
    {
        "width": RNG.normal(size=120).astype(np.float32).astype(np.float64),
        "height": RNG.normal(size=120).astype(np.float32).astype(np.float64),
        "city": RNG.choice(["Bilbao", "Eibar", "Getxo"], 120),
    }
)
LABELS = (FRAME["width"] + (FRAME["city"] == "Eibar") > 0).astype(float)


NAMES = (
    "logistic",
    "forest",
    "boosting",
    "linear",
    "forest-regression",
)


def stages() -> dict[str, Estimator]:
    """Spark's classes want a running session before they are made."""
    estimators = (
        LogisticRegression(),
        RandomForestClassifier(numTrees=4, seed=0),
        GBTClassifier(maxIter=4, seed=0),
        LinearRegression(),
        RandomForestRegressor(numTrees=4, seed=0),
    )
    return dict(zip(NAMES, estimators, strict=True))


def features() -> list[Estimator | Transformer]:
    return [
        StringIndexer(inputCol="city", outputCol="place"),
        VectorAssembler(inputCols=["width", "height", "place"], outputCol="assembled"),
        StandardScaler(inputCol="assembled", outputCol="features", withMean=True),
    ]


def main(folder: Path) -> None:
    os.environ["MLFLOW_DFS_TMP"] = str(folder / "dfs")
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .getOrCreate()
    )
    rows = spark.createDataFrame(FRAME.assign(label=LABELS))
    for name, estimator in stages().items():
        model = Pipeline(stages=[*features(), estimator]).fit(rows)
        home = folder / name
        mlflow.spark.save_model(
            model,
            str(home),
            signature=infer_signature(FRAME),
            pip_requirements=["pyspark"],  # to infer them starts a Spark of its own
        )
        FRAME.to_csv(folder / "rows.csv", index=False)
        answers = mlflow.pyfunc.load_model(str(home)).predict(FRAME)
        home.with_suffix(".answers.json").write_text(json.dumps(answers), "utf-8")
    spark.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
