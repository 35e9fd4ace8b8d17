"""What devices count, in the bins of a model's reference data; sums and drift from it."""
