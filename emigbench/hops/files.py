"""Structure files -> crystals, whatever the format. Nothing in a file is executed or unpickled.

CIF and pymatgen's JSON are read by pymatgen; extended XYZ and other text formats by ASE, which the extra `ase`
brings.
"""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from emigbench.datasets.geometry import near_pairs, wrapped
from emigbench.errors import EmigbenchError, in_words, quoted
from emigbench.hops import poscar
from emigbench.records import FloatArray
from emigbench.storage import PACKED, name_of_content, read_text

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core.structure import Structure

Source: TypeAlias = "str | Path | Structure | Atoms"
"""Where a structure comes from: a file, or an object in memory."""
MOST_ATOMS = 20_000
MOST_CIF_SITES = 5_000
"""pymatgen compares all sites of a CIF with each other, so that more would take minutes."""
LARGEST_FILE = 20_000_000
"""Bytes; a POSCAR of the largest cell has 2 MB, but a CIF or a trajectory says more."""
FULL = 0.999
"""Occupancy from which a site is full."""
SAME_SITE = 0.005
"""Of a cell vector; images of a site in a CIF that are nearer are one, written with three decimals."""
OVERLAP_A = 0.5
"""Atoms nearer than this are one atom written twice, or a wrong cell."""
NOT_TEXT = {
    **dict.fromkeys((".zst", ".zip", ".z", ".lzma"), "is compressed; unpack it first"),
    ".traj": "is a binary trajectory; write it as POSCAR, CIF or extended XYZ (name.extxyz)",
}
"""Suffix -> what to say of a file that is no text."""
ASE_SUFFIXES = {f".{name}": name for name in "cfg extxyz gen res xsd xsf".split()} | {".xyz": "extxyz"}
"""Suffix -> the format, whatever else the name says."""
ASE_FORMATS = frozenset(
    "aims cfg espresso-in espresso-out extxyz gen res vasp-out vasp-xdatcar vasp-xml xsd xsf".split()
)
"""Text formats with a cell. ASE reads more, but some of the others are unpickled or reach for a database."""


SYMMETRY_OPERATIONS = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
"""What a CIF that spells out its symmetry has; others name a space group, in one of several settings."""
SETTING_IS_UNCLEAR = (
    "it lists no symmetry operations, and the setting of its space group may not have been understood: add the "
    "operations, or write it as POSCAR."
)
SYMBOLS = ("_symmetry_space_group_name_H-M", "_space_group_name_H-M_alt")
GROUPS = (*SYMBOLS, "_space_group_name_Hall", "_space_group_IT_number", "_symmetry_Int_Tables_number")
_MONOCLINIC = re.compile(r"([PABCI])(21?(?:/[abcmn])?|[abcmn])")
"""Short symbols, such as C2/m; pymatgen knows them by their full ones, C 1 2/m 1."""


class OverlapError(EmigbenchError):
    """Atoms of a structure lie on each other."""


@dataclass(frozen=True, eq=False)
class Crystal:
    """A periodic cell of atoms.

    Attributes:
        name: what errors call it, such as the file's name.
        lattice: (3, 3) Å, rows are the cell vectors.
        species: n element symbols.
        frac_coords: (n, 3) fractional, inside [0, 1).
    """

    name: str
    lattice: FloatArray
    species: tuple[str, ...]
    frac_coords: FloatArray

    def __len__(self) -> int:
        return len(self.species)


def frames(source: Source, name: str) -> list[Crystal]:
    """The crystals in a file, see `read`, or the one in memory, which errors call by the name."""
    return read(Path(source)) if isinstance(source, str | Path) else [in_memory(source, name)]


def read(file: Path) -> list[Crystal]:
    """The crystals in a file, one for each frame or data block, in the file's order; or those in a folder of VASP.

    A file may be packed (.gz, .bz2, .xz). Of a folder, CONTCAR is read, or else POSCAR; of one with the numbered
    folders of a NEB (00, 01, …), the first and the last of these. Frames of a trajectory between the first and the last
    are not checked: they are only counted, and their species compared.

    Raises:
        EmigbenchError: if it cannot be read, or holds something else than a whole, ordered, periodic crystal.
    """
    if images := of_neb(file):
        return [read(of_vasp(image))[-1] for image in (images[0], images[-1])]
    if file.is_dir():
        return read(of_vasp(file))
    if file.is_file() and (reason := NOT_TEXT.get(file.suffix.lower())):
        raise EmigbenchError(f"{file} {reason}.")
    text = read_text(file, LARGEST_FILE, errors="replace")  # comments may have an author's name in another encoding
    if "\0" in text:
        raise EmigbenchError(f"{file} is not UTF-8 text; save it as UTF-8, if it is text at all.")
    if not text.strip():
        raise EmigbenchError(f"{file} is empty.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = _parse(file, text)
        except EmigbenchError:
            raise
        except Exception as error:  # the parsers fail in many ways of their own
            raise EmigbenchError(f"{file} cannot be read as a structure ({in_words(error)}).") from error
    if not found:
        raise EmigbenchError(f"{file} holds no structure.")
    return found


def of_neb(folder: Path) -> list[Path]:
    """The numbered folders (00, 01, …) of a NEB's images in a folder, in order; none where there are fewer than two."""
    if not folder.is_dir():
        return []
    numbered = [each for each in folder.iterdir() if each.name.isdecimal() and each.is_dir()]
    numbered.sort(key=lambda each: (int(each.name), each.name))  # 9 before 10
    return numbered if len(numbered) > 1 else []


def of_vasp(folder: Path) -> Path:
    """The file with the structure that VASP ended with in a folder, or with the one that it began with.

    Raises:
        EmigbenchError: if there is neither.
    """
    for name in ("CONTCAR", "POSCAR"):
        for file in (folder / f"{name}{suffix}" for suffix in ("", *PACKED)):
            if file.is_file() and file.stat().st_size:
                return file
    raise EmigbenchError(f"{folder} is a folder without CONTCAR or POSCAR; name a structure file.")


def in_memory(source: Any, name: str) -> Crystal:
    """A pymatgen Structure or ASE Atoms as a crystal.

    Raises:
        EmigbenchError: if it is neither, or no whole, ordered, periodic crystal.
    """
    if hasattr(source, "get_chemical_symbols"):
        return _from_atoms(source, name)
    if not hasattr(source, "frac_coords") or not hasattr(source, "lattice"):
        raise EmigbenchError(
            f"An object of type {type(source).__name__} is no structure; give a file, a pymatgen Structure or ASE "
            f"Atoms."
        )
    return from_structure(source, name)


def from_structure(structure: Structure, name: str) -> Crystal:
    """A pymatgen Structure as a crystal.

    Raises:
        EmigbenchError: if a site is partly occupied, or the crystal is none, see `crystal`.
    """
    found = [{_symbol(each) for each in site.species} for site in structure]  # of Mn3+ and Mn4+ on one site, Mn
    partly = [
        site
        for site, symbols in zip(structure, found, strict=True)
        if len(symbols) != 1 or site.species.num_atoms < FULL
    ]
    if partly:
        raise EmigbenchError(
            f"{name} has partly occupied sites ({quoted(partly[0].species_string)}); order it first, so that each site "
            f"has one atom or none, such as with pymatgen's OrderDisorderedStructureTransformation."
        )
    return crystal(name, structure.lattice.matrix, [symbol for (symbol,) in found], structure.frac_coords)


def _symbol(species: Any) -> str:
    """The element of one of pymatgen's species, without an oxidation state; deuterium is "D"."""
    element = getattr(species, "element", species)
    return str(getattr(element, "name", element))  # the symbol of deuterium is that of hydrogen


def crystal(name: str, lattice: Any, species: Sequence[str], frac_coords: Any) -> Crystal:
    """A checked crystal, its atoms moved into the cell.

    Raises:
        EmigbenchError: if the cell is not periodic or too large, or an element is unknown.
        OverlapError: if atoms overlap.
    """
    cell = np.array(lattice, dtype=float).reshape(3, 3)
    coords = np.array(frac_coords, dtype=float).reshape(len(species), 3)
    if not (np.isfinite(cell).all() and np.isfinite(coords).all()):
        raise EmigbenchError(f"{name} has a coordinate that is not finite.")
    if abs(np.linalg.det(cell)) < 1e-3:
        raise EmigbenchError(f"{name} has no periodic cell; a hop needs the three cell vectors of a crystal.")
    check_size(name, len(species))
    if unknown := sorted(set(species) - elements()):
        raise _unknown_element(name, unknown[0])
    found = Crystal(name, cell, tuple(species), wrapped(coords))
    first, second, length = near_pairs(found.frac_coords, found.frac_coords, found.lattice, OVERLAP_A)
    for i, j, distance in zip(first, second, length, strict=True):
        if i < j:
            raise OverlapError(
                f"{name} has overlapping atoms: {species[i]} {i + 1} and {species[j]} {j + 1} are {distance:.2f} Å "
                f"apart."
            )
    return found


def _unknown_element(name: str, symbol: str) -> EmigbenchError:
    meant = symbol.capitalize()
    advice = f"write it as {meant}" if meant in elements() else "use element symbols"
    return EmigbenchError(f"{name} has an atom of an unknown element, {quoted(symbol)}; {advice}.")


def check_size(name: str, n_atoms: int) -> None:
    """Refuse cells without atoms, and those so large that nobody meant them.

    Raises:
        EmigbenchError: if there are none or too many.
    """
    if n_atoms == 0:
        raise EmigbenchError(f"{name} has no atoms.")
    if n_atoms > MOST_ATOMS:
        raise EmigbenchError(
            f"{name} has {n_atoms:,} atoms, more than the {MOST_ATOMS:,} that are read; cut out a smaller cell around "
            f"the hop."
        )


@cache
def elements() -> frozenset[str]:
    """The symbols of the elements; isotopes (D, T) are none."""
    from pymatgen.core.periodic_table import Element

    return frozenset(element.symbol for element in Element)


# --- Formats


def _parse(file: Path, text: str) -> list[Crystal]:
    name = name_of_content(file).lower()
    if name.endswith((".cif", ".mcif")):
        return _parse_cif(file, text)
    if name.endswith(".json"):
        return [_parse_json(file, text)]
    suffix = Path(name).suffix
    is_vasp = suffix == ".vasp"
    if suffix in ASE_SUFFIXES or ("outcar" in name and not is_vasp):
        return _parse_with_ase(file, text, ASE_SUFFIXES.get(suffix, "vasp-out"))
    if _TRAJECTORY.search(text) or ("xdatcar" in name and not is_vasp):
        return _parse_with_ase(file, text, "vasp-xdatcar")
    if "poscar" in name or "contcar" in name or is_vasp or not suffix:
        return [crystal(str(file), *poscar.parse(text, str(file), check_size))]
    return _parse_with_ase(file, text)


_TRAJECTORY = re.compile(r"^\s*Direct configuration=", re.MULTILINE)
"""What every frame of an XDATCAR begins with. Its head is that of a POSCAR, and names are no proof."""


def _parse_cif(file: Path, text: str) -> list[Crystal]:
    from pymatgen.io.cif import CifFile

    cif = CifFile.from_str(text)
    blocks = [block.data for block in cif.data.values()]
    listed = max((len(block.get("_atom_site_fract_x", [])) for block in blocks), default=0)
    if listed == 0:
        raise EmigbenchError(f"{file} cannot be read as a CIF: no data block lists atoms (_atom_site_fract_x).")
    if listed > MOST_CIF_SITES:
        raise EmigbenchError(
            f"{file} lists {listed:,} sites, more than the {MOST_CIF_SITES:,} that are read from a CIF; write it as "
            f"POSCAR."
        )
    if any([_as_pymatgen_knows(block) for block in blocks]):  # all of them
        text = str(cif)
    structures, said = _structures_of_cif(file, text)
    if not any(_only_names_its_symmetry(block) for block in blocks):
        return [from_structure(structure, str(file)) for structure in structures]
    try:
        found = [from_structure(structure, str(file)) for structure in structures]
    except OverlapError as error:
        raise EmigbenchError(f"{str(error).removesuffix('.')}; {SETTING_IS_UNCLEAR}") from error
    if any("Incorrect stoichiometry" in each for each in said):
        raise EmigbenchError(f"{file} has other atoms than its formula; {SETTING_IS_UNCLEAR}")
    if not any("Spacegroup from" in each for each in said):
        raise EmigbenchError(f"{file} has no symbol of a space group that is known; {SETTING_IS_UNCLEAR}")
    return found


def _as_pymatgen_knows(block: dict[str, Any]) -> bool:
    """Write out in a data block what pymatgen takes amiss: default occupancies, short symbols; whether it had any."""
    changed = False
    occupancies = block.get("_atom_site_occupancy", [])
    if "." in occupancies:  # the default, which is 1; pymatgen leaves such an atom out
        block["_atom_site_occupancy"] = ["1" if given == "." else given for given in occupancies]
        changed = True
    for key in SYMBOLS:
        if short := _MONOCLINIC.fullmatch(re.sub(r"[\s_]", "", block.get(key, ""))):
            block[key] = "{} 1 {} 1".format(*short.groups())
            changed = True
    return changed


def _structures_of_cif(file: Path, text: str) -> tuple[list[Structure], list[str]]:
    """The structures in the text of a CIF, and what pymatgen warns of."""
    from pymatgen.io.cif import CifParser

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            structures = CifParser.from_str(text, site_tolerance=SAME_SITE).parse_structures(primitive=False)
        except ValueError as error:
            reasons = [str(each.message) for each in caught if str(each.message).startswith("No structure parsed")]
            reason = (reasons or [str(error)])[0].splitlines()[-1]
            raise EmigbenchError(f"{file} cannot be read as a CIF ({reason.rstrip('.')}).") from error
    return structures, [str(each.message) for each in caught]


def _only_names_its_symmetry(block: dict[str, Any]) -> bool:
    """Whether a data block names another space group than P1 without its operations."""
    names = {block.get(key, "?").replace(" ", "") for key in GROUPS}
    return not (names <= {"?", ".", "1", "P1"} or any(key in block for key in SYMMETRY_OPERATIONS))


def _parse_json(file: Path, text: str) -> Crystal:
    content = json.loads(text)  # read here: pymatgen would build any class that the file names
    content = content.get("structure", content) if isinstance(content, dict) else {}  # of a ComputedStructureEntry
    if not {"sites", "lattice"} <= content.keys():
        raise EmigbenchError(f"{file} holds no pymatgen structure, which has sites and a lattice.")
    sites = content["sites"]
    check_size(str(file), len(sites))
    found = [{str(each["element"]) for each in site["species"]} for site in sites]
    filled = [sum(each.get("occu", 1) for each in site["species"]) for site in sites]
    if any(len(symbols) != 1 for symbols in found) or min(filled) < FULL:
        raise EmigbenchError(
            f"{file} has partly occupied sites; order it first, such as with pymatgen's "
            f"OrderDisorderedStructureTransformation."
        )
    species = [symbol for (symbol,) in found]
    return crystal(str(file), content["lattice"]["matrix"], species, [site["abc"] for site in sites])


def _parse_with_ase(file: Path, text: str, kind: str = "") -> list[Crystal]:
    """The frames of a file of one of `ASE_FORMATS`, which its name and content tell if it is not given."""
    try:
        from ase.io import read as read_atoms
        from ase.io.formats import UnknownFileTypeError, filetype, ioformats
    except ImportError:
        raise EmigbenchError(
            f"{file} is no POSCAR, CIF or pymatgen JSON by its name, and other formats need ASE: "
            f"pip install 'emigbench[ase]'."
        ) from None
    try:
        kind = kind or filetype(str(file))
    except UnknownFileTypeError:
        kind = ""
    if kind not in ASE_FORMATS:
        raise EmigbenchError(
            f"{file} is of a format that is not read here; write it as POSCAR, CIF or extended XYZ, named as "
            f"name.vasp, name.cif or name.extxyz."
        )
    source = io.StringIO(text) if ioformats[kind].acceptsfd else str(file)
    try:
        frames = read_atoms(source, index=":", format=kind, do_not_split_by_at_sign=True)
    except KeyError as error:  # a symbol that ASE looks up in vain, such as the number of a type
        if kind == "extxyz":
            raise _unknown_element(str(file), str(error.args[0])) from error
        raise
    if len(frames) < 2:
        return [_from_atoms(atoms, str(file)) for atoms in frames]
    names = [f"{file} (frame {number} of {len(frames)})" for number in range(1, len(frames) + 1)]
    between = [_unchecked(atoms, name) for atoms, name in zip(frames[1:-1], names[1:-1], strict=True)]
    return [_from_atoms(frames[0], names[0]), *between, _from_atoms(frames[-1], names[-1])]


def _unchecked(atoms: Any, name: str) -> Crystal:
    """A frame of a trajectory that nothing is read from but its species; coordinates are NaN."""
    return Crystal(name, atoms.cell.array, tuple(atoms.get_chemical_symbols()), np.full((len(atoms), 3), np.nan))


def _from_atoms(atoms: Any, name: str) -> Crystal:
    if atoms.cell.rank < 3:
        raise EmigbenchError(f"{name} has no periodic cell; a hop needs the three cell vectors of a crystal.")
    if not atoms.pbc.all():
        raise EmigbenchError(f"{name} is not periodic along all its cell vectors, as a crystal is; set its pbc.")
    return crystal(name, atoms.cell.array, atoms.get_chemical_symbols(), atoms.get_scaled_positions(wrap=False))
