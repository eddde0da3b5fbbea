"""Ensembles of trees: on matminer's features of a path, and the path forest on physical descriptors of it."""
