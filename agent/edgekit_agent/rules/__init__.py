"""What happens to a model on a device, decided: pure functions of state and event."""
