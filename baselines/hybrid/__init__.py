"""Models that learn from a potential and from labels: a corrected NEB barrier, and the path forest with a NEB."""
