"""What a graph asks of a device: memory, operators, an onnxruntime. Pure."""
