"""Old MLflows with old scikit-learns: their environments, and models logged in them."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from edgekit.conversion import ConversionRequest
from edgekit.manifest import ModelIdentity
from edgekit_converters import environments
from edgekit_converters.extraction import Extraction
from edgekit_converters.native.extract import extract
from edgekit_converters.native.isolation import OWN

NAMES = ("forest", "boosting")
# Each with the Python that its scikit-learn has wheels for.
ERAS = {
    "mlflow 1.30, scikit-learn 1.0": (
        "3.10",
        ("mlflow==1.30.0", "scikit-learn==1.0.2", "numpy<1.24", "setuptools<70"),
    ),
    "mlflow 2.9, scikit-learn 1.2": (
        OWN,
        (
            "mlflow-skinny==2.9.2",
            "scikit-learn==1.2.2",
            "numpy==1.26.4",
            "scipy<1.12",
            "pandas<2.3",
            "setuptools<70",
        ),
    ),
}


def is_possible(era: str) -> bool:
    """Whether the Python of an era is here."""
    python, _ = ERAS[era]
    return python == OWN or environments.interpreter(python) is not None


def made(era: str, folder: Path) -> Path:
    """Log the era's models into a folder and return it; NoEnvironmentError if it cannot."""
    python, wanted = ERAS[era]
    interpreter = environments.environment(wanted, print, python=python)
    script = Path(__file__).with_name("old_models.py")
    home = folder / era.replace(" ", "-")
    home.mkdir()
    subprocess.run(
        [str(interpreter), str(script), str(home)],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore", "GIT_PYTHON_REFRESH": "quiet"},
        cwd=home,
        timeout=240,
    )
    return home


def converting(model: Path) -> Callable[[], Extraction]:
    """Return the conversion of an old model, among its own packages."""

    def convert() -> Extraction:
        request = ConversionRequest(
            model_folder=model,
            identity=ModelIdentity(
                name="m", version="1", run_id="r", source_sha256="0" * 64
            ),
            boards=[],
            out=model.parent / "out",
            trust_pickle=True,
        )
        with TemporaryDirectory() as workdir:
            return extract(request, Path(workdir), lambda _: None)

    return convert
