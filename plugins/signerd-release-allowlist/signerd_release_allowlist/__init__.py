"""Release check by a list: a digest is a genuine release because the operator wrote it down."""
