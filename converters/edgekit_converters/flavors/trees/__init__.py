"""Flavors of tree ensembles: one node, exact or with fewer bits and splits."""
