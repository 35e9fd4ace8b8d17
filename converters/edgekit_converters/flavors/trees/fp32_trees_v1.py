"""The fp32-trees-v1 flavor: every tree ensemble in one TreeEnsembleRegressor.

For boards whose onnxruntime is older than 1.21, where fp32-trees does not run; the same
replacement otherwise, in operators that every onnxruntime has. Knows no framework.
"""

from edgekit.errors import ConversionError
from edgekit_converters.flavors.flavor import Built, DoesNotApply, Source
from edgekit_converters.flavors.trees.one_forest import one_forest
from edgekit_converters.flavors.trees.tree_ensemble_v1 import tree_ensemble_regressor


def build(source: Source) -> Built | DoesNotApply:
    """Return the model with all of its tree ensembles replaced."""
    try:
        new = one_forest(source.model, tree_ensemble_regressor)
    except ConversionError as error:
        return DoesNotApply(reason=str(error))
    return Built(model=new.model, note=f"TreeEnsembleRegressor: {new.note}")
