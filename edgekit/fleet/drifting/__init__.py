"""What a fleet sees and answers now, beside the reference data of the model it serves."""
