"""What a NEB is run with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class NebSettings:
    """Settings of a NEB. Every one of them is part of what a result is stored under.

    The defaults are those of the paper's authors as far as known (relaxed ends at fixed cell, five images, IDPP, the
    full spring force with 5 eV/Å², no climbing image, 0.05 eV/Å), but for the optimiser: LBFGS takes the steps of BFGS
    without its dense Hessian, which costs as much as the forces in bands of a few thousand coordinates.

    Attributes:
        n_images: images of the band, the two ends among them.
        interpolation: first band between the ends; "idpp" keeps atoms apart that a straight line drives together.
        climb: let the highest image climb to the saddle.
        spring: spring constant in eV/Å².
        method: how springs and tangents are taken, as ASE calls it: "eb" (full spring force), "improvedtangent" or
            "aseneb".
        relax_endpoints: relax the atoms of both ends first, at fixed cell.
        optimiser: class of `ase.optimize` for ends and band.
        fmax: largest force on any atom that counts as converged, in eV/Å; of the band, the NEB force.
        endpoint_steps: most steps for each end.
        band_steps: most steps for the band.
    """

    n_images: int = 5
    interpolation: Literal["idpp", "linear"] = "idpp"
    climb: bool = False
    spring: float = 5.0
    method: Literal["eb", "improvedtangent", "aseneb"] = "eb"
    relax_endpoints: bool = True
    optimiser: Literal["LBFGS", "BFGS", "FIRE"] = "LBFGS"
    fmax: float = 0.05
    endpoint_steps: int = 500
    band_steps: int = 500
