"""Models that learn from a potential and from labels: corrected NEB barriers, and the stack of all that we have."""
