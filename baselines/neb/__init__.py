"""Nudged elastic bands (NEB) with interatomic potentials: CHGNet, SevenNet, MatterSim, MACE and any ASE calculator."""
