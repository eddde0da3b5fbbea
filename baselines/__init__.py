"""Models that serve as references. They use only the public API of emigbench."""
