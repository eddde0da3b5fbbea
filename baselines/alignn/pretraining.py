"""Pre-training on seven bulk properties at once (section 6.2 of the paper, Equation 2).

`python -m emigbench_baselines.alignn.pretraining prepare TABLE ARCHIVE` makes neighbour lists of the structures in
`seven_properties.parquet` and puts them into one archive, which needs no pymatgen, pandas or network to be read.
`python -m emigbench_baselines.alignn.pretraining train ARCHIVE OUT` trains on it, on a GPU if there is one, and
writes the weights (safetensors, half precision) and a report of every property on the held-out structures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emigbench import EmigbenchError
from emigbench.progress import progress_on_stderr
from emigbench.records import FloatArray
from emigbench.storage import sha256_of, write_text
from emigbench_baselines.alignn import training
from emigbench_baselines.alignn.batch import prepare as prepare_graph
from emigbench_baselines.alignn.checkpoints import save, weights_hash
from emigbench_baselines.alignn.device import device_named
from emigbench_baselines.alignn.elements import atomic_number
from emigbench_baselines.alignn.graph import K, crystal_graph
from emigbench_baselines.alignn.graph_store import pack, unpack
from emigbench_baselines.alignn.neighbours import Neighbours, nearest
from emigbench_baselines.alignn.network import PROPERTIES, build
from emigbench_baselines.alignn.recipes import PRETRAINING, VALIDATION_SHARE, Recipe
from emigbench_baselines.alignn.training import Sample

HELD_OUT_SHARE = 0.1
SPLIT_SEED = 0


def prepare(table: Path, archive: Path, workers: int) -> None:
    """Neighbour lists, targets and sides of every structure, one row a structure, into one archive.

    A structure with a test label of any property is held out whole. Formation energy and band gap have no test rows,
    so a tenth of the structures that have nothing else is held out for them.
    """
    import pandas as pd

    frame = pd.read_parquet(table)
    structures = frame.drop_duplicates("structure_key").set_index("structure_key")
    keys = list(structures.index)
    row_of = {key: i for i, key in enumerate(keys)}
    targets, mask = np.zeros((len(keys), len(PROPERTIES))), np.zeros((len(keys), len(PROPERTIES)), dtype=np.uint8)
    held_out = np.zeros(len(keys), dtype=bool)
    for key, name, subset, value in zip(
        frame.structure_key, frame.property, frame.subset, frame.target_scaled, strict=True
    ):
        row, column = row_of[key], PROPERTIES.index(name)
        held_out[row] |= subset == "test"
        if not mask[row, column]:  # of two labels that disagree the first is kept
            targets[row, column], mask[row, column] = value, 1
    only_large = ~mask[:, :5].any(axis=1)
    held_out |= only_large & (np.random.default_rng(SPLIT_SEED).random(len(keys)) < HELD_OUT_SHARE)
    cells = zip(structures.lattice, structures.elements, structures.frac_coords, keys, strict=True)
    lists = _neighbour_lists(cells, len(keys), workers)
    pack(archive, lists, {"targets": targets.astype(np.float32), "mask": mask, "held_out": held_out})


def _neighbour_lists(cells: Iterable[tuple[Any, ...]], total: int, workers: int) -> list[Neighbours]:
    from rich.console import Console
    from rich.progress import track

    with ProcessPoolExecutor(workers) as pool:
        found = pool.map(_neighbours_of, cells, chunksize=64)
        return list(track(found, "neighbours", total=total, console=Console(stderr=True)))


def _neighbours_of(cell: tuple[Any, ...]) -> Neighbours:
    lattice, elements, coords, key = cell
    numbers = [atomic_number(symbol, str(key)) for symbol in elements]
    return nearest(np.reshape(lattice, (3, 3)), numbers, np.reshape(coords, (-1, 3)), k=K, name=str(key))


def read(archive: Path, *, canonical: bool = False, limit: int | None = None) -> tuple[list[Sample], list[Sample]]:
    """Samples to train on and samples that are held out; of the first `limit` structures alone, for a rehearsal."""
    lists, extra = unpack(archive)
    lists, extra = lists[:limit], {name: values[:limit] for name, values in extra.items()}
    samples = [
        Sample(
            (prepare_graph(crystal_graph(neighbours, canonical=canonical)),), target.astype(float), known.astype(float)
        )
        for neighbours, target, known in zip(lists, extra["targets"], extra["mask"], strict=True)
    ]
    held_out = extra["held_out"].astype(bool)
    fitted, held = ([samples[i] for i in np.flatnonzero(side)] for side in (~held_out, held_out))
    return fitted, held


def pretrain(
    archive: Path,
    out: Path,
    recipe: Recipe,
    *,
    seed: int,
    device: str | None,
    balance: float,
    largest: float = np.inf,
    limit: int | None = None,
) -> None:
    """Train the multi-property network and write `mpt.safetensors` and `pretraining.json` into `out`.

    Structures with more than `largest` rows in their line graph are left out of training and validation, and scored
    with the others where they are held out. A run that was stopped is taken up from its checkpoint in `out`.
    """
    device = device_named(device)
    torch.manual_seed(seed)
    network = build(recipe.network)
    started_from = weights_hash(network)
    checkpoint = out / f"checkpoint-{_key(archive, started_from, recipe, seed, device, balance, largest, limit)}.pt"
    samples, held_out = read(archive, canonical=recipe.canonical, limit=limit)
    samples = [sample for sample in samples if sample.n_rows <= largest]
    out.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(seed).permutation(len(samples))
    n_validation = int(VALIDATION_SHARE * len(samples))
    validation, fitted = ([samples[i] for i in part] for part in (order[:n_validation], order[n_validation:]))
    with progress_on_stderr("Pre-training, epochs") as progress:
        epochs = training.train(
            network,
            fitted,
            validation,
            recipe,
            seed=seed,
            device=device,
            checkpoint=checkpoint,
            log=lambda epoch, total: progress(
                f"loss {epoch.train_loss:.4f}, validation MAE {epoch.validation_mae:.4f}", epoch.number, total
            ),
            weights=sampling_weights(fitted, balance) if balance else None,
        )
    save(network, out / "mpt.safetensors")
    report = {
        "recipe": asdict(recipe),
        "seed": seed,
        "balance": balance,
        "largest": largest if np.isfinite(largest) else None,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "n": {"train": len(fitted), "validation": len(validation), "held_out": len(held_out)},
        "validation": scores(network, validation, device),
        "held_out": scores(network, held_out, device),
        "epochs": [{k: v if np.isfinite(v) else None for k, v in asdict(epoch).items()} for epoch in epochs],
    }
    write_text(out / "pretraining.json", json.dumps(report, indent=1, allow_nan=False) + "\n")
    checkpoint.unlink(missing_ok=True)


def _key(archive: Path, *settings: object) -> str:
    """Everything that the weights depend on, as part of a sha256: no two runs share a checkpoint."""
    return hashlib.sha256(repr((sha256_of(archive), *settings, torch.__version__)).encode()).hexdigest()[:16]


def sampling_weights(samples: Sequence[Sample], balance: float) -> FloatArray:
    """Shares by which samples are drawn: balance 0 for all alike, 1 by the rarest property of each.

    A structure with several properties brings the others along, so at 1 properties are not drawn quite alike: of what
    is drawn from the seven-property table 22.6 % have GV, 18.3 % BG, 17.6 % FE and 15.6 to 16.7 % each of the others.
    """
    mask = np.array([sample.mask for sample in samples])
    rarity = np.maximum(mask.sum(axis=0), 1.0) ** -balance
    weights: FloatArray = (mask * rarity).max(axis=1)
    return weights / weights.sum()


def scores(network: torch.nn.Module, samples: Sequence[Sample], device: str) -> dict[str, Any]:
    """R2 and MAE of each property in scaled units, and the number of labels; the MAE of all, in two ways.

    That of all labels is what chooses the epoch; the mean of the properties' own does not go by how many labels each
    has.
    """
    shape = (len(samples), len(PROPERTIES))
    predicted = training.predict(network, samples, device).reshape(shape)
    target, mask = (np.array([getattr(s, name) for s in samples]).reshape(shape) for name in ("target", "mask"))
    found: dict[str, Any] = {}
    for column, name in enumerate(PROPERTIES):
        known = mask[:, column] > 0
        found[name] = _score(predicted[known, column], target[known, column])
    maes = [of_one["mae"] for of_one in found.values() if of_one["n"]]
    pooled = _score(predicted[mask > 0], target[mask > 0])["mae"]
    return {**found, "mae_of_all_labels": pooled, "mae_mean_of_properties": float(np.mean(maes)) if maes else None}


def _score(predicted: FloatArray, target: FloatArray) -> dict[str, Any]:
    """Of labels that are all one value R2 has no meaning, of none the MAE has none either."""
    error, n = predicted - target, len(target)
    spread = float(((target - target.mean()) ** 2).sum()) if n else 0.0
    return {
        "n": n,
        "mae": float(np.abs(error).mean()) if n else None,
        "r2": float(1 - (error**2).sum() / spread) if spread > 0 else None,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of pre-training."""
    parser = argparse.ArgumentParser(prog="pretraining", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("prepare", help="structures -> archive of neighbour lists")
    making.add_argument("table", type=Path)
    making.add_argument("archive", type=Path)
    making.add_argument("--workers", type=int, default=2)
    running = commands.add_parser("train", help="archive -> weights and report")
    running.add_argument("archive", type=Path)
    running.add_argument("out", type=Path)
    running.add_argument("--epochs", type=int, default=PRETRAINING.epochs)
    running.add_argument("--batch-size", type=int, default=PRETRAINING.batch_size)
    running.add_argument("--largest", type=float, default=np.inf, help="train on line graphs of at most so many rows")
    running.add_argument("--seed", type=int, default=0)
    running.add_argument(
        "--balance", type=float, default=0.0, help="0: as they come; 1: by the rarest property of each"
    )
    running.add_argument("--limit", type=int, help="only the first structures, for a rehearsal")
    running.add_argument("--device", help="cpu or cuda; by default a GPU if there is one")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "prepare":
            prepare(chosen.table, chosen.archive, chosen.workers)
        else:
            recipe = replace(PRETRAINING, epochs=chosen.epochs, batch_size=chosen.batch_size)
            settings = {name: getattr(chosen, name) for name in ("seed", "device", "balance", "largest", "limit")}
            pretrain(chosen.archive, chosen.out, recipe, **settings)
    except EmigbenchError as error:
        sys.exit(f"pretraining: {error}")


if __name__ == "__main__":
    main()
