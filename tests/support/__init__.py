"""What tests and long checks share."""
