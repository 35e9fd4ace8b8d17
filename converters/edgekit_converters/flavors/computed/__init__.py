"""Flavors that compute in 8-bit integers."""
