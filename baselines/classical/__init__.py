"""Random forest and gradient boosting on matminer and path features."""
