"""Keras, SavedModel and TensorFlow Lite, through tf2onnx."""
