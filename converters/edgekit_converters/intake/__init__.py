"""What came in: the model's files told apart, and the rows to compare on."""
