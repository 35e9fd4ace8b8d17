"""The int8 flavor: weights stored as int8 with a scale per channel, computed in float32."""

from edgekit_converters.flavors.flavor import Builder
from edgekit_converters.flavors.stored.formats import INT8
from edgekit_converters.flavors.stored.weight_only import builder

build: Builder = builder(INT8)
