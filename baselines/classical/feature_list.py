"""What the 279 features are: family, matminer's name, unit and featurizer of each column, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from emigbench_baselines.classical.path_features import PATH_FEATURES


@dataclass(frozen=True)
class Feature:
    """What one column of the table is.

    Attributes:
        family: one of the paper's six, or "path" for the nine of the hop.
        label: what matminer, or `PATH_FEATURES`, calls it.
        unit: of the value; "1" where it has none.
        source: the matminer featurizer, or "path_features".
    """

    family: str
    label: str
    unit: str
    source: str

    @property
    def name(self) -> str:
        """Name of the column."""
        return f"{self.family}: {self.label}"


MAGPIE_UNITS = {
    "Number": "1",
    "MendeleevNumber": "1",
    "AtomicWeight": "g/mol",
    "MeltingT": "K",
    "Column": "1",
    "Row": "1",
    "CovalentRadius": "pm",
    "Electronegativity": "Pauling",
    "NsValence": "electrons",
    "NpValence": "electrons",
    "NdValence": "electrons",
    "NfValence": "electrons",
    "NValence": "electrons",
    "NsUnfilled": "electrons",
    "NpUnfilled": "electrons",
    "NdUnfilled": "electrons",
    "NfUnfilled": "electrons",
    "NUnfilled": "electrons",
    "GSvolume_pa": "Å³/atom",
    "GSbandgap": "eV",
    "GSmagmom": "µB/atom",
    "SpaceGroupNumber": "1",
}
MAGPIE_STATISTICS = ("minimum", "maximum", "range", "mean", "avg_dev", "mode")

SITE_UNITS = {
    "Number": "1",
    "AtomicWeight": "g/mol",
    "Row": "1",
    "Column": "1",
    "FirstIonizationEnergy": "eV",
    "SecondIonizationEnergy": "eV",
    "ElectronAffinity": "kJ/mol",
    "Electronegativity": "Pauling",
    "AllenElectronegativity": "Allen",
    "VdWRadius": "pm",
    "CovalentRadius": "pm",
    "AtomicRadius": "Å",
    "ZungerPP-r_s": "bohr",
    "ZungerPP-r_p": "bohr",
    "MeltingT": "K",
    "BoilingT": "K",
    "Density": "g/cm³",
    "MolarVolume": "cm³/mol",
    "HeatFusion": "kJ/mol",
    "HeatVaporization": "kJ/mol",
    "LogThermalConductivity": "log10 W/(m K)",
    "HeatCapacityMass": "J/(g K)",
}

COORDINATION_MOTIFS = {
    1: ("sgl_bd",),
    2: ("L-shaped", "water-like", "bent 120 degrees", "bent 150 degrees", "linear"),
    3: ("trigonal planar", "trigonal non-coplanar", "T-shaped"),
    4: (
        "square co-planar",
        "tetrahedral",
        "rectangular see-saw-like",
        "see-saw-like",
        "trigonal pyramidal",
    ),
    5: ("pentagonal planar", "square pyramidal", "trigonal bipyramidal"),
    6: ("hexagonal planar", "octahedral", "pentagonal pyramidal"),
    7: ("hexagonal pyramidal", "pentagonal bipyramidal"),
    8: ("body-centered cubic", "hexagonal bipyramidal"),
    9: ("q2", "q4", "q6"),
    10: ("q2", "q4", "q6"),
    11: ("q2", "q4", "q6"),
    12: ("cuboctahedral", "q2", "q4", "q6"),
}
MAX_COORDINATION = 24

# family, matminer featurizer, unit of each label
_GROUPS: tuple[tuple[str, str, dict[str, str]], ...] = (
    (
        "elemental",
        "ElementProperty",
        {f"MagpieData {s} {p}": unit for p, unit in MAGPIE_UNITS.items() for s in MAGPIE_STATISTICS},
    ),
    ("elemental", "SiteElementalProperty", {f"site {p}": unit for p, unit in SITE_UNITS.items()}),
    ("stoichiometric", "Stoichiometry", {f"{p}-norm": "1" for p in (0, 2, 3, 5, 7, 10)}),
    (
        "electronic",
        "ValenceOrbital",
        {f"avg {orbital} valence electrons": "electrons" for orbital in "spdf"}
        | {f"frac {orbital} valence electrons": "1" for orbital in "spdf"},
    ),
    ("electronic", "AtomicOrbitals", {"HOMO_energy": "Ha", "LUMO_energy": "Ha", "gap_AO": "Ha"}),
    ("electronic", "BandCenter", {"band center": "eV"}),
    ("electronic", "TMetalFraction", {"transition metal fraction": "1"}),
    (
        "environmental",
        "CrystalNNFingerprint",
        {
            f"{motif} CN_{n}": "1"
            for n in range(1, MAX_COORDINATION + 1)
            for motif in ("wt", *COORDINATION_MOTIFS.get(n, ()))
        },
    ),
    ("environmental", "CoordinationNumber", {"CN_CrystalNN": "1"}),
    ("environmental", "AverageBondLength", {"Average bond length": "Å"}),
    ("environmental", "AverageBondAngle", {"Average bond angle": "rad"}),
    ("structural", "DensityFeatures", {"density": "g/cm³", "vpa": "Å³/atom", "packing fraction": "1"}),
    (
        "structural",
        "GlobalSymmetryFeatures",
        dict.fromkeys(("spacegroup_num", "crystal_system_int", "is_centrosymmetric", "n_symmetry_ops"), "1"),
    ),
    (
        "structural",
        "GeneralizedRadialDistributionFunction",
        {f"Gaussian center={radius}.0 width=1.0": "atoms/Å³" for radius in range(10)},
    ),
    (
        "structural",
        "GaussianSymmFunc",
        {f"G2_{eta}": "1" for eta in (0.05, 4.0, 20.0, 80.0)}
        | {f"G4_0.005_{zeta}_{gamma}": "1" for zeta in (1.0, 4.0) for gamma in (1.0, -1.0)},
    ),
    ("interaction", "IonProperty", {"max ionic char": "1", "avg ionic char": "1"}),
    ("interaction", "YangSolidSolution", {"Yang omega": "1", "Yang delta": "1"}),
    (
        "interaction",
        "Miedema",
        {f"Miedema_deltaH_{phase}": "eV/atom" for phase in ("inter", "amor", "ss_min")},
    ),
    ("interaction", "EwaldSiteEnergy", {"ewald_site_energy": "eV"}),
    ("path", "path_features", PATH_FEATURES),
)

FEATURES: Mapping[str, Feature] = {
    feature.name: feature
    for family, source, units in _GROUPS
    for feature in (Feature(family, label, unit, source) for label, unit in units.items())
}
"""Every column of the table by name, in order."""
