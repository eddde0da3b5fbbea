"""Models that serve as references. They depend on emigbench, never the reverse."""
