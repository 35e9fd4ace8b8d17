"""Flavors that store weights in fewer bits and compute in float32."""
