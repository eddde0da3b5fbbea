"""A picture of a path: the atoms around the band, as a PNG or as an interactive page that needs no network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emigbench import drawing
from emigbench.datasets.geometry import distances
from emigbench.records import FloatArray, MigrationPath
from emigbench.report import templating
from emigbench.report.figures.style import STYLE
from emigbench.report.record import LIGANDS, Record, bond_limit, in_words

REACH = 1.45
"""Host atoms are drawn within this times the moving ion's longest bond of the band, and the ligands bonded to those."""
REACH_WITHOUT_LIGANDS_A = 4.0
PROFILE_POINTS = 81
ATOM_SCALE = 0.32
"""Radius of a drawn atom over its atomic radius."""
MARGIN_A = 0.8


@dataclass(frozen=True, eq=False)
class Scene:
    """What is drawn. Coordinates are in Å; x runs along the band, z towards the viewer; the origin is its middle.

    Attributes:
        ion: element of the moving ion.
        band: (5, 3) its images.
        species: elements of the n host atoms, periodic images included.
        atoms: (n, 3) where they are.
        bonds: (m, 2) pairs of atoms.
    """

    ion: str
    band: FloatArray
    species: tuple[str, ...]
    atoms: FloatArray
    bonds: NDArray[np.int64]


def scene(path: MigrationPath) -> Scene:
    """The surroundings of a band, seen from where the atoms hide each other least."""
    from pymatgen.core.lattice import Lattice

    band = path.band_frac_coords @ path.lattice
    middle = (band[0] + band[-1]) / 2
    reach = REACH * max(bond_limit(path.mobile_ion, element) for element in path.host_species)
    reach = reach or REACH_WITHOUT_LIGANDS_A
    longest = max(bond_limit(a, b) for a in path.host_species for b in LIGANDS)
    found: Any = Lattice(path.lattice).get_points_in_sphere(
        path.host_frac_coords, middle, path.hop_length / 2 + reach + longest, zip_results=False
    )
    fractional, _, indices, _ = found
    species, atoms = np.array(path.host_species)[np.asarray(indices, dtype=int)], np.asarray(fractional) @ path.lattice
    near, ligand = _to_segment(atoms, band[0], band[-1]) < reach, np.isin(species, sorted(LIGANDS))
    kept = near | (ligand & _bonded(species, atoms)[:, near & ~ligand].any(axis=1))
    species, atoms = species[kept], atoms[kept] - middle
    order = np.lexsort((*atoms.round(4).T, species))
    species, atoms = species[order], atoms[order]
    axes = _axes(band - middle, atoms)
    return Scene(
        ion=path.mobile_ion,
        band=(band - middle) @ axes.T,
        species=tuple(species.tolist()),
        atoms=atoms @ axes.T,
        bonds=np.argwhere(np.triu(_bonded(species, atoms))),
    )


def _to_segment(points: FloatArray, start: FloatArray, end: FloatArray) -> FloatArray:
    """(n,) distances in Å from points to the straight line between two others."""
    along = end - start
    t = np.clip((points - start) @ along / (along @ along), 0, 1)
    distances: FloatArray = np.linalg.norm(points - start - t[:, None] * along, axis=1)
    return distances


def _bonded(species: NDArray[np.str_], atoms: FloatArray) -> NDArray[np.bool_]:
    """(n, n) whether two atoms are bonded."""
    names, code = np.unique(species, return_inverse=True)
    limits = np.array([[bond_limit(a, b) for b in names.tolist()] for a in names.tolist()])
    lengths = np.linalg.norm(atoms[:, None] - atoms, axis=2)
    bonded: NDArray[np.bool_] = lengths < limits.reshape(len(names), len(names))[np.ix_(code, code)]
    return bonded


def _axes(band: FloatArray, atoms: FloatArray) -> FloatArray:
    """(3, 3) rows x, y, z: x along the band, z such that atoms and images overlap least in the x, y plane."""
    x = (band[-1] - band[0]) / np.linalg.norm(band[-1] - band[0])
    first = np.eye(3)[np.abs(x).argmin()]
    first = first - (first @ x) * x
    first /= np.linalg.norm(first)
    second = np.cross(x, first)
    points = np.vstack([band, atoms])

    def overlap(angle: float) -> float:
        flat = points @ np.array([x, np.cos(angle) * first + np.sin(angle) * second]).T
        lengths = np.linalg.norm(flat[:, None] - flat, axis=2)
        importance = np.exp(-(_to_segment(points, band[0], band[-1]) ** 2) / 8)
        return float(importance @ np.exp(-((lengths / 0.9) ** 2)) @ importance)

    best = min(np.linspace(0, np.pi, 60, endpoint=False), key=lambda angle: round(overlap(float(angle)), 6))
    y = np.cos(best) * first + np.sin(best) * second
    return np.array([x, y, np.cross(x, y)])


@cache
def _colours() -> dict[str, str]:
    """Element -> colour, as VESTA shows it; from pymatgen's table."""
    import yaml

    table = yaml.safe_load((resources.files("pymatgen.vis") / "ElementColorSchemes.yaml").read_text(encoding="utf-8"))
    return {element: "#{:02x}{:02x}{:02x}".format(*rgb) for element, rgb in table["VESTA"].items()}


def _radius(element: str) -> float:
    from pymatgen.core.periodic_table import Element

    return float(Element(element).atomic_radius or 1.0)


# --- PNG


def png(path: MigrationPath, record: Record) -> bytes:
    """The structure around the band from the side and along it, and the nearest atoms on the way."""
    with drawing.looks(STYLE):
        return drawing.content(_figure(scene(path), path, record), "png", dpi=160)


def _figure(seen: Scene, path: MigrationPath, record: Record) -> Any:
    facts = record.facts
    points = np.abs(np.vstack([seen.atoms, seen.band]))
    width, height = float(points[:, 0].max()) + MARGIN_A, float(np.hypot(points[:, 1], points[:, 2]).max()) + MARGIN_A
    figure = drawing.canvas(4.2 * (1 + width / height) + 3.6, 5.2)
    side, front, profile = figure.subplots(1, 3, width_ratios=(4.2 * width / height, 4.2, 3.6))
    for axes, view, half, title in (
        (side, (0, 1, 2), width, "from the side"),
        (front, (2, 1, 0), height, "along the band"),
    ):
        axes.set(xlim=(-half, half), ylim=(-height, height), aspect="equal", title=title)
        axes.set_axis_off()
        _draw_atoms(axes, seen, view)
        _draw_band(axes, seen, view)
    side.plot([MARGIN_A / 2 - width, MARGIN_A / 2 - width + 2], [-height + 0.2] * 2, color="black", linewidth=2)
    side.annotate("2 Å", (MARGIN_A / 2 - width + 1, -height + 0.3), ha="center", va="bottom")
    _legend(figure, seen, path)
    _draw_profile(profile, path)
    figure.suptitle(
        f"{facts.id}: {facts.mobile_ion} in {facts.composition}, {facts.structural_group.lower()}, "
        f"E_m = {facts.e_m_ev:.3g} eV, hop {facts.hop_length_a:.2f} Å",
        fontsize=10,
    )
    return figure


def _draw_atoms(axes: Any, seen: Scene, view: tuple[int, int, int]) -> None:
    """Draw the host with the coordinates `view` (right, up, towards the viewer); what is far is pale."""
    from matplotlib.patches import Circle

    atoms = seen.atoms[:, view]
    low, high = atoms[:, 2].min(), atoms[:, 2].max()

    def faded(colour: str, z: float) -> tuple[float, float, float]:
        return _pale(colour, 0.7 * (high - z) / max(high - low, 1e-6))

    for i, j in seen.bonds:
        z = min(atoms[i, 2], atoms[j, 2])
        axes.plot(*atoms[[i, j], :2].T, color=faded("#666666", z), linewidth=1.8, zorder=z)
    for element, place in zip(seen.species, atoms, strict=True):
        fill, edge = faded(_colours()[element], place[2]), faded("#333333", place[2])
        size = ATOM_SCALE * _radius(element)
        axes.add_patch(
            Circle((place[0], place[1]), size, facecolor=fill, edgecolor=edge, linewidth=0.7, zorder=place[2])
        )


def _draw_band(axes: Any, seen: Scene, view: tuple[int, int, int]) -> None:
    """Draw the five images over everything; numbered where they do not lie behind each other."""
    from matplotlib.patches import Circle

    band, last = seen.band[:, view], len(seen.band) - 1
    size = _ion_radius(seen)
    axes.plot(*band[:, :2].T, color="black", linewidth=1, linestyle=(0, (2, 2)), zorder=100)
    for k in range(last + 1):
        end = k in (0, last)
        fill = _colours()[seen.ion] if end else _pale(_colours()[seen.ion], 0.5)
        shape = Circle((band[k, 0], band[k, 1]), size, facecolor=fill, edgecolor="black", zorder=101 + k)
        shape.set_linewidth(1.5 if end else 0.9)
        axes.add_patch(shape)
        if view[2] != 0:
            axes.annotate(str(k), band[k, :2], ha="center", va="center", fontsize=7, zorder=102 + k)


def _ion_radius(seen: Scene) -> float:
    """Å; small enough that the images of a short hop do not hide each other."""
    spacing = float(np.linalg.norm(seen.band[1] - seen.band[0]))
    return min(ATOM_SCALE * _radius(seen.ion), 0.55 * spacing)


def _pale(colour: str, share: float) -> tuple[float, float, float]:
    """A colour with a share of white in it."""
    from matplotlib.colors import to_rgb

    red, green, blue = (share + (1 - share) * part for part in to_rgb(colour))
    return red, green, blue


def _legend(figure: Any, seen: Scene, path: MigrationPath) -> None:
    from matplotlib.lines import Line2D

    def mark(element: str, label: str, edge: float) -> Any:
        look = {"marker": "o", "linestyle": "", "markeredgecolor": "black", "markeredgewidth": edge}
        return Line2D([], [], label=label, markerfacecolor=_colours()[element], markersize=8, **look)  # type: ignore[arg-type]

    hosts = [mark(element, element, 0.7) for element in sorted(set(path.host_species))]
    handles = [mark(seen.ion, f"{seen.ion} moving, 0 to 4", 1.5), *hosts]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def profile(path: MigrationPath, n: int = PROFILE_POINTS) -> tuple[FloatArray, dict[str, FloatArray]]:
    """(n,) places along the band in Å, and for each element of the host the (n,) distances to its nearest atom in Å."""
    places, names = np.linspace(0, 1, n), np.array(path.host_species)
    start, end = path.band_frac_coords[0], path.band_frac_coords[-1]
    lengths = distances(start + places[:, None] * (end - start), path.host_frac_coords, path.lattice)
    nearest = {element: lengths[:, names == element].min(axis=1) for element in sorted(set(path.host_species))}
    return path.hop_length * places, nearest


def _draw_profile(axes: Any, path: MigrationPath) -> None:
    """The distance to the nearest atom of each element on the way."""
    places, nearest = profile(path)
    for element, lengths in nearest.items():
        (line,) = axes.plot(places, lengths, color=_colours()[element], linewidth=2.2)
        line.set_path_effects(_outline())
    images = np.linspace(0, path.hop_length, len(path.band_frac_coords))
    axes.set_xticks(images, [f"{k}\n{x:.1f}" for k, x in enumerate(images)])
    axes.set_xlabel("image, and Å along the band")
    axes.set_ylabel("distance (Å)")
    axes.set_ylim(0, min(6.0, 1.1 * max(float(lengths.max()) for lengths in nearest.values())))
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_title("nearest atom of each element")


def _outline() -> list[Any]:
    """Pale colours stay visible on white."""
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=3.0, foreground="#777777"), Normal()]


# --- HTML


def html(path: MigrationPath, record: Record) -> str:
    """A page with the structure to turn with the mouse or the arrow keys, and the record as text."""
    from markupsafe import Markup

    script = templating.asset("path.js")
    seen = scene(path)
    elements = sorted({seen.ion, *seen.species})
    data = {
        "ion": seen.ion,
        "band": seen.band.round(3).tolist(),
        "species": seen.species,
        "atoms": seen.atoms.round(3).tolist(),
        "bonds": seen.bonds.tolist(),
        "colours": {element: _colours()[element] for element in elements},
        "radii": {element: round(ATOM_SCALE * _radius(element), 3) for element in elements},
        "ionRadius": round(_ion_radius(seen), 3),
    }
    return (
        templating.environment()
        .get_template("path.html.jinja")
        .render(
            facts=record.facts,
            text=in_words(record),
            data=data,
            script=Markup(script),
            script_hash=templating.script_hash(script),
        )
    )
