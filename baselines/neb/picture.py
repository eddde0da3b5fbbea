"""One picture of a path: the energy profile of every band that is kept, and where the ion goes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.data.colors import jmol_colors
from ase.geometry import find_mic
from ase.utils.forcecurve import fit_images
from numpy.typing import NDArray

from emigbench import EmigbenchError
from emigbench_baselines.neb.band import NebResult

REACH = 4.0
"""Host atoms within this distance of the ion's path are drawn, in Å."""


def draw(title: str, bands: Mapping[str, NebResult], e_m: float, file: Path) -> None:
    """Draw the bands of one path to a file; its suffix says the format (png, svg, pdf).

    Args:
        title: what the picture is of.
        bands: results with images, by what they are called; the first one's path is drawn.
        e_m: DFT barrier in eV, drawn as a line.
        file: where to.

    Raises:
        EmigbenchError: if there is no such format, or the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    energies, place = figure.subplots(1, 2)
    figure.suptitle(title)
    for name, result in bands.items():
        _profile(energies, name, result)
    energies.axhline(e_m, color="0.4", linestyle="--", linewidth=1, label=f"DFT barrier {e_m:.2f} eV")
    energies.set(xlabel="length of the band (Å)", ylabel="energy above the initial state (eV)")
    energies.legend(fontsize="small", framealpha=0.6)
    name, result = next(iter(bands.items()))
    _place(place, result.images)
    place.set_title(name, fontsize="medium")
    try:
        figure.savefig(file, dpi=150)
    except ValueError as error:
        raise EmigbenchError(f"{file} cannot be drawn; name a .png, .svg or .pdf file.") from error
    except OSError as error:
        raise EmigbenchError(f"Cannot write {file}: {error.strerror}.") from error


def _profile(axes: Any, name: str, result: NebResult) -> None:
    """Energies of the images and the curve through them that has their forces' slopes."""
    fit = fit_images(list(result.images))
    (line,) = axes.plot(fit.fit_path, fit.fit_energies, linewidth=1.2)
    doubt = "" if result.status == "ok" else f" ({result.status.replace('_', ' ')})"
    axes.plot(fit.path, fit.energies, "o", color=line.get_color(), label=f"{name}: {result.forward:.2f} eV{doubt}")


def _place(axes: Any, images: tuple[Atoms, ...]) -> None:
    """The ion at each image and the atoms around, seen so that the path lies flat."""
    ion = np.array([image.positions[0] for image in images])
    host, numbers = _around(images[0], ion)
    centre = ion.mean(axis=0)
    flat = np.linalg.svd(np.vstack([10 * (ion - centre), host - centre]))[2]
    ion, host = (ion - centre) @ flat.T, (host - centre) @ flat.T
    for index in np.argsort(host[:, 2]):
        number = numbers[index]
        spot = (host[index, 0], host[index, 1])
        axes.scatter(*spot, s=600 * covalent_radii[number] ** 2, color=jmol_colors[number], edgecolor="0.3", alpha=0.7)
    axes.plot(ion[:, 0], ion[:, 1], "-", color="black", linewidth=1, zorder=9)
    number = int(images[0].numbers[0])
    axes.scatter(
        ion[:, 0], ion[:, 1], s=120, color=jmol_colors[number], edgecolor="black", zorder=10, label=images[0].symbols[0]
    )
    for other in sorted(set(numbers.tolist())):
        axes.scatter([], [], color=jmol_colors[other], edgecolor="0.3", label=Atoms([other]).symbols[0])
    axes.legend(fontsize="small", ncols=len(set(numbers.tolist())) + 1, loc="lower center")
    axes.set_aspect("equal")
    axes.set(xlabel="Å", ylabel="Å")


def _around(first: Atoms, ion: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(m, 3) places of the host atoms near the path, each at the image nearest to it, and their atomic numbers."""
    places, numbers = [], []
    for position, number in zip(first.positions[1:], first.numbers[1:], strict=True):
        ways, distances = find_mic(position - ion, first.cell)
        nearest = int(np.argmin(distances))
        if distances[nearest] < REACH:
            places.append(ion[nearest] + ways[nearest])
            numbers.append(number)
    return np.array(places).reshape(-1, 3), np.array(numbers, dtype=np.int64)
