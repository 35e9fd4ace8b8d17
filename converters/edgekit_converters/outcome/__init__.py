"""What a conversion leaves on disk: flavors, golden vectors and the report."""
