"""The graph models of the paper in the registry: MODEL-1 to 4, the scratch models, and MODEL-3 from random weights."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emigbench import EmigbenchError, LabelledPath, MigrationPath, Prediction, cache_folder
from emigbench.datasets.hashing import geometry_hash
from emigbench.errors import in_words
from emigbench.metrics.pairs import TOLD_APART_EV
from emigbench.metrics.weighted import rounded_size
from emigbench.progress import progress_on_stderr
from emigbench.splits import is_single_path
from emigbench.storage import sha256_of
from emigbench_baselines.alignn import training
from emigbench_baselines.alignn.batch import PreparedGraph, prepare
from emigbench_baselines.alignn.checkpoints import copy_backbone, load, of_authors, weights_hash
from emigbench_baselines.alignn.device import device_named, memory_told, out_of_memory
from emigbench_baselines.alignn.graph import crystal_graph, has_final_state
from emigbench_baselines.alignn.graph_store import STORE_VERSION, path_neighbours
from emigbench_baselines.alignn.network import Backbone, build, start_at
from emigbench_baselines.alignn.recipes import RECIPES, VALIDATION_SHARE, Recipe, frozen, original, short
from emigbench_baselines.alignn.training import Epoch, Sample

log = logging.getLogger(__name__)

WEIGHTS = Path(__file__).with_name("weights") / "mpt.safetensors"
"""Our own pre-trained weights; `pretraining` makes them."""
FILE_ORDER = Path(__file__).with_name("file_order.txt")
"""Ids of the 559 training paths in the order of the authors' file, RAW-Em-5-images-TRAIN.json."""


def pretrained_weights() -> Path:
    """The file of pre-trained weights: EMIGBENCH_MPT, which may be `authors` for theirs, else those of the package.

    Raises:
        EmigbenchError: if there are none.
    """
    named = os.environ.get("EMIGBENCH_MPT")
    if named == "authors":
        return of_authors("mpt")
    file = Path(named or WEIGHTS)
    if not file.is_file():
        raise EmigbenchError(
            f"There are no pre-trained weights in {file}; make them with python -m "
            f"emigbench_baselines.alignn.pretraining, or name a file of weights in EMIGBENCH_MPT."
        )
    return file


class GraphModel:
    """A network trained by a recipe.

    Args:
        recipe: what to train, and how.
        device: "cpu" or "cuda"; a GPU if there is one by default.

    Raises:
        EmigbenchError: if there is no such device.

    Attributes:
        epochs: after `fit`, the figures of every epoch, in scaled units.
        fit_seconds: after `fit`, the time of every epoch in all, those before a checkpoint included.
    """

    kind = "graph"

    def __init__(self, recipe: Recipe, device: str | None = None) -> None:
        self.recipe = recipe
        self.device = device_named(device)
        self.epochs: list[Epoch] = []
        self.fit_seconds = 0.0
        self._network: Backbone | None = None
        self._scale = (0.0, 1.0)
        self._approximated = 0
        self._on_train: dict[str, Any] = {}
        self._checkpoint: Path | None = None

    def fit(self, train: Sequence[LabelledPath], *, seed: int) -> None:
        """Train on nine tenths of the paths and choose the epoch on the others, which share no material with them.

        The checkpoint stays until the first predictions are made: a run that dies of them need not train anew.

        Raises:
            EmigbenchError: if a path cannot be made a graph, or there is nothing to train on.
        """
        if self.recipe.single_path:
            train = [labelled for labelled in train if is_single_path(labelled.id)]
        if not self.recipe.grouped_validation:
            train = in_file_order(train)
        if not train:
            raise EmigbenchError(f"{self.recipe.network} has no paths to train on.")
        barriers = np.array([labelled.e_m for labelled in train])
        self._scale = (float(barriers.min()), float(np.ptp(barriers)) or 1.0)
        scaled = 2 * (barriers - self._scale[0]) / self._scale[1] - 1
        samples = [
            Sample(self._graphs(labelled.path), np.array([q]), np.ones(1))
            for labelled, q in zip(train, scaled, strict=True)
        ]
        self._approximated = sum(not has_final_state(labelled.path) for labelled in train)
        materials = [labelled.path.material_id for labelled in train]
        fitted, held = validation_rows(materials, seed) if self.recipe.grouped_validation else original_rows(len(train))
        network = self._initial_network(seed)
        if self.recipe.starts_at_mean:
            start_at(network, float(scaled[fitted].mean()))
        started = time.monotonic()
        if self.recipe.frozen_alignn_layers:
            network.freeze_alignn_layers()
            with memory_told(self.device):
                samples = self._halfway(network, [labelled.id for labelled in train], samples)
        frozen_seconds = time.monotonic() - started
        self._checkpoint = cache_folder() / "training" / f"{self._key(network, train, seed)}.pt"
        with progress_on_stderr(f"{self.recipe.network}, epochs") as progress:
            self.epochs = training.train(
                network,
                [samples[i] for i in fitted],
                [samples[i] for i in held],
                self.recipe,
                seed=seed,
                device=self.device,
                checkpoint=self._checkpoint,
                log=lambda epoch, total: progress(self._in_words(epoch), epoch.number, total),
            )
        self._network = network
        self.fit_seconds = frozen_seconds + math.fsum(epoch.seconds for epoch in self.epochs)
        answers = self._values({labelled.id: sample for labelled, sample in zip(train, samples, strict=True)})
        answered = [labelled for labelled in train if labelled.id in answers]
        self._on_train = {
            "train_mae_ev": round(float(np.mean([abs(answers[one.id] - one.e_m) for one in answered])), 4),
            **structures_told_apart(answered, answers),
        }

    def predict(self, paths: Sequence[MigrationPath]) -> list[Prediction]:
        """Barriers in eV, one for each path; failed for a path that cannot be made a graph or does not fit."""
        if self._network is None:
            raise EmigbenchError(f"{self.recipe.network} has to be fitted before it predicts.")
        samples = {}
        for path in paths:
            try:
                samples[path.id] = Sample(self._graphs(path), np.zeros(1), np.ones(1))
            except EmigbenchError as error:
                log.warning("%s: no prediction (%s)", path.id, error)
        values = self._values(samples)
        if self._checkpoint is not None:
            self._checkpoint.unlink(missing_ok=True)
        return [
            Prediction(path.id, values[path.id]) if path.id in values else Prediction(path.id, None, status="failed")
            for path in paths
        ]

    @property
    def details(self) -> dict[str, Any]:
        """What a run record keeps of the fit."""
        errors = [epoch.validation_mae for epoch in self.epochs]
        last = self.recipe.keep == "last" or not np.isfinite(errors).any()
        best = len(errors) - 1 if last else int(np.nanargmin(errors))
        return {
            "recipe": asdict(self.recipe),
            "pretrained_weights_sha256": sha256_of(pretrained_weights()) if self.recipe.pretrained else None,
            "epochs": len(self.epochs),
            "best_epoch": best + 1,
            "validation_mae_ev": round(errors[best] * self._scale[1] / 2, 4),
            "seconds_an_epoch": round(float(np.mean([epoch.seconds for epoch in self.epochs])), 3),
            "device": torch.cuda.get_device_name() if self.device == "cuda" else "cpu",
            **self._on_train,
            "final_states_from_band": self._approximated if self.recipe.inputs == "endpoints" else None,
        }

    def _in_words(self, epoch: Epoch) -> str:
        return f"loss {epoch.train_loss:.4f}, validation MAE {epoch.validation_mae * self._scale[1] / 2:.3f} eV"

    def _values(self, samples: dict[str, Sample]) -> dict[str, float]:
        """Id -> barrier in eV; a sample that is too large for the memory is left out."""
        scaled = self._scaled(list(samples.values()))
        if scaled is not None:
            low, width = self._scale
            return {i: float(low + (q + 1) / 2 * width) for i, q in zip(samples, scaled, strict=True)}
        if len(samples) > 1:
            return {i: value for one in samples for i, value in self._values({one: samples[one]}).items()}
        log.warning("%s: no prediction (out of memory on %s)", *samples, self.device)
        return {}

    def _scaled(self, samples: Sequence[Sample]) -> list[float] | None:
        """Scaled barriers; None where memory does not suffice, and then what filled it is free on return."""
        assert self._network is not None
        try:
            return training.predict(self._network, samples, self.device)[:, 0].tolist() if samples else []
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            return None

    def _graphs(self, path: MigrationPath) -> tuple[PreparedGraph, ...]:
        kinds = {"band": ("band",), "endpoints": ("endpoints",), "band-and-subgraph": ("band", "subgraph")}
        try:
            return tuple(
                prepare(crystal_graph(neighbours, canonical=self.recipe.canonical))
                for kind in kinds[self.recipe.inputs]
                for neighbours in path_neighbours(path, kind, original=self.recipe.original_graphs)  # type: ignore[arg-type]
            )
        except MemoryError as error:
            raise EmigbenchError(f"{path.id}: its graph does not fit into the memory ({in_words(error)}).") from error

    def _initial_network(self, seed: int) -> Backbone:
        torch.manual_seed(seed)
        network = build(self.recipe.network)
        if self.recipe.pretrained:
            weights = pretrained_weights()
            copy_backbone(network, load(weights), str(weights))
        return network.to(self.device)

    def _halfway(self, network: Backbone, ids: Sequence[str], samples: Sequence[Sample]) -> list[Sample]:
        """The samples with the answers of the ALIGNN layers."""
        done = []
        with progress_on_stderr(f"{self.recipe.network}, answers of the frozen layers") as progress:
            for path_id, sample in zip(ids, samples, strict=True):
                graphs = network.frozen_inputs(sample.graphs, partial(training.halfway, network, device=self.device))
                done.append(replace(sample, graphs=graphs))
                progress(path_id, len(done), len(samples))
        return done

    def _key(self, network: Backbone, train: Sequence[LabelledPath], seed: int) -> str:
        """What a run starts from and how it goes on, as sha256: two share a checkpoint only if they are the same."""
        settings = astuple(self.recipe), seed, self.device, torch.__version__, STORE_VERSION, weights_hash(network)
        digest = hashlib.sha256(repr(settings).encode())
        for labelled in train:
            of_path = (geometry_hash(labelled.path), labelled.path.material_id, labelled.e_m)
            digest.update(f"{of_path}\n".encode())
        return digest.hexdigest()


def structures_told_apart(labelled_paths: Sequence[LabelledPath], answers: Mapping[str, float]) -> dict[str, int]:
    """How many structures have several bands, and of how many all bands get answers that differ by more than 1 meV.

    The paper says it of its training paths (sections 3.3 and 3.5). Bands that are one by symmetry count as one here.

    Args:
        labelled_paths: with their structures.
        answers: id -> barrier in eV.
    """
    bands: dict[Any, dict[str, float]] = {}
    for labelled in labelled_paths:
        bands.setdefault(_structure(labelled.path), {})[labelled.duplicate_of or labelled.id] = answers[labelled.id]
    several = [sorted(band.values()) for band in bands.values() if len(band) > 1]
    apart = [bool((rounded_size(np.diff(values)) > TOLD_APART_EV).all()) for values in several]
    return {"structures_of_several_bands": len(several), "structures_told_apart": sum(apart)}


def _structure(path: MigrationPath) -> tuple[Any, ...]:
    return path.mobile_ion, tuple(sorted(path.host_species)), *np.linalg.norm(path.lattice, axis=1).round(3)


def validation_rows(materials: Sequence[str], seed: int) -> tuple[list[int], list[int]]:
    """Rows to fit to and rows to choose the epoch by: whole materials, drawn until a tenth of the paths is reached."""
    names = np.unique(materials)
    drawn: set[str] = set()
    for name in np.random.default_rng(seed).permutation(names):
        if sum(m in drawn for m in materials) >= VALIDATION_SHARE * len(materials) or len(drawn) == len(names) - 1:
            break
        drawn.add(str(name))
    return [i for i, m in enumerate(materials) if m not in drawn], [i for i, m in enumerate(materials) if m in drawn]


def in_file_order(train: Sequence[LabelledPath]) -> list[LabelledPath]:
    """Paths as the original reads them; those that are not in its file come last, as they are."""
    place = {path_id: i for i, path_id in enumerate(FILE_ORDER.read_text("utf-8").splitlines())}
    return sorted(train, key=lambda labelled: place.get(labelled.id, len(place)))


def original_rows(n: int) -> tuple[list[int], list[int]]:
    """The original's rows: the first 90 % to fit to, the next 10 % to validate, both rounded down."""
    n_fit, n_validation = int(n / 100 * 90), int(n / 100 * 10)
    return list(range(n_fit)), list(range(n_fit, n_fit + n_validation))


def _factory(name: str) -> Any:
    def make() -> GraphModel:
        return GraphModel(RECIPES[name])

    make.__doc__ = f"{name}: {RECIPES[name].inputs}, {'pre-trained' if RECIPES[name].pretrained else 'random'} weights."
    return make


scratch_add, scratch_sub, scratch_cc = map(_factory, ("scratch-add", "scratch-sub", "scratch-cc"))
model_1_add, model_1_sub, model_1_cc = map(_factory, ("model-1-add", "model-1-sub", "model-1-cc"))
model_1_cc_single_path = _factory("model-1-cc-single-path")
model_2, model_3, model_4 = map(_factory, ("model-2", "model-3", "model-4"))
model_3_scratch = _factory("model-3-scratch")


def published(name: str) -> GraphModel:
    """A model of the registry with the published recipe, oddities included; there as `original:NAME`."""
    return GraphModel(original(_recipe(name)))


def shortened(name: str) -> GraphModel:
    """A model of the registry with the short recipe; there as `short:NAME`."""
    return GraphModel(short(_recipe(name)))


def partly_frozen(name: str) -> GraphModel:
    """A model of the registry whose pre-trained ALIGNN layers are left as they are; there as `frozen:NAME`."""
    return GraphModel(frozen(_recipe(name)))


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise EmigbenchError(f"There is no graph model {name!r}; there are {', '.join(RECIPES)}.")
    return RECIPES[name]
