"""Nudged elastic bands (NEB) with interatomic potentials: CHGNet, SevenNet, MACE and any ASE calculator."""
