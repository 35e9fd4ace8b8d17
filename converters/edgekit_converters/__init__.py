"""Converters: trained model in, compact ONNX flavors out, measured and gated."""
