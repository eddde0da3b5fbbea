"""The graph models of the paper: crystal graphs, the ALIGNN network, its pre-training and MODEL-1 to MODEL-4."""
