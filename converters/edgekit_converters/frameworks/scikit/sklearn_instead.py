"""What to do about estimators of scikit-learn that have no ONNX form. Knows their names."""

from collections.abc import Mapping

_LABELS = "train a classifier on its labels_ and log that"
_REPLACEMENTS: Mapping[str, str] = {
    "AdditiveChi2Sampler": "use RBFSampler",
    "BisectingKMeans": "use KMeans",
    "CCA": "use PLSRegression",
    "ClassifierChain": "use MultiOutputClassifier",
    "DictionaryLearning": "use SparsePCA",
    "FeatureAgglomeration": "use PCA",
    "GaussianProcessClassifier": "use SVC(probability=True)",
    "Isomap": "use PCA or KernelPCA",
    "KernelRidge": "use SVR with the same kernel",
    "LabelPropagation": "train a classifier on its transduction_ and log that",
    "LabelSpreading": "train a classifier on its transduction_ and log that",
    "LatentDirichletAllocation": "use TruncatedSVD",
    "LocallyLinearEmbedding": "use PCA or KernelPCA",
    "MiniBatchDictionaryLearning": "use MiniBatchSparsePCA",
    "MiniBatchNMF": "use TruncatedSVD",
    "MissingIndicator": "let the model learn from NaN itself (HistGradientBoosting)",
    "NMF": "use TruncatedSVD",
    "NearestCentroid": "use KNeighborsClassifier(1) on the centroids",
    "Nystroem": "use RBFSampler",
    "OutputCodeClassifier": "use OneVsRestClassifier",
    "PLSCanonical": "use PLSRegression",
    "PolynomialCountSketch": "use PolynomialFeatures",
    "RadiusNeighborsClassifier": "use KNeighborsClassifier",
    "RadiusNeighborsRegressor": "use KNeighborsRegressor",
    "RadiusNeighborsTransformer": "use KNeighborsTransformer",
    "RandomTreesEmbedding": "use KBinsDiscretizer",
    "RegressorChain": "use MultiOutputRegressor",
    "SkewedChi2Sampler": "use RBFSampler",
    "SparseCoder": "use SparsePCA",
    "SplineTransformer": "use KBinsDiscretizer or PolynomialFeatures",
}
_COVARIANCES = (
    "EmpiricalCovariance",
    "GraphicalLasso",
    "GraphicalLassoCV",
    "LedoitWolf",
    "MinCovDet",
    "OAS",
    "ShrunkCovariance",
)
_NO_ANSWERS: Mapping[str, str] = {  # estimators that say nothing of new rows
    "AgglomerativeClustering": _LABELS,
    **dict.fromkeys(_COVARIANCES, "use EllipticEnvelope, which answers by a covariance"),
    "DBSCAN": _LABELS,
    "FeatureAgglomeration": "put it before a model in a Pipeline, or use PCA",
    "HDBSCAN": _LABELS,
    "OPTICS": _LABELS,
    "SpectralBiclustering": _LABELS.replace("labels_", "row_labels_"),
    "SpectralClustering": _LABELS,
    "SpectralCoclustering": _LABELS.replace("labels_", "row_labels_"),
    "LocalOutlierFactor": "fit it with novelty=True",
    "NearestNeighbors": "use KNeighborsClassifier or KNeighborsRegressor",
    "KernelDensity": "use GaussianMixture",
}


def advice(estimator: str) -> str:
    """Return what to do about an estimator that cannot be converted."""
    known = _REPLACEMENTS.get(estimator)
    general = "do that step before the model, or log an ONNX model with mlflow.onnx"
    return f"{known}; or {general}" if known else general


def unanswered(estimator: str, function: str) -> str:
    """Return what to do about an estimator that lacks the function it is asked for."""
    if function != "predict":
        return "log it with a pyfunc_predict_fn that it has"
    return _NO_ANSWERS.get(estimator, "log a model that has predict")
