"""Who may do what on the broker: its files, written for one fleet."""
