"""What is fuzzed of training and export, where torch is needed: checkpoints, weights, and what travels with them."""

from __future__ import annotations

import copy
import functools
import hashlib
import io
import json
import pickle
import random
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from avatarify_plus.network.checkpoint import Checkpoint
from avatarify_plus.network.config import network_config
from avatarify_plus.network.model import AnimationModel
from avatarify_plus.network.weights import read_model, write_weights
from avatarify_plus.program.command_line import ProgramParser
from avatarify_plus.program.option_fields import add_fields, read_fields
from export.import_fomm import import_model
from export.onnx_bundle import load_checkpoint, read_metrics
from mutation import changed_header, changed_json, changed_lines, changed_tree, changed_zip, either, mutated
from targets import ROOT, Target, command, one_usage_error
from training import train
from training.ablation import write_page
from training.config import TrainingConfig
from training.evaluation.studies import STUDIES
from training.evaluation.trained_network import TrainedNetwork, read_trained_network, write_trained_network
from training.loop.checkpoint import load_what_fits, read_start
from training.loop.logbook import Logbook
from training.transfer.checkpoint_chunks import join_chunks, write_chunks

CONFIG = network_config("ours", "tiny")


def odd_value(chance: random.Random) -> Any:
    """Return something that a checkpoint can hold, and should not where it stands."""
    makers: tuple[Callable[[], Any], ...] = (
        lambda: None,
        lambda: chance.choice((True, 0, -1, 10**30, 0.5, float("nan"), float("inf"), "", "a", "a\nb", b"a")),
        lambda: chance.choice(([], {}, (), [1, [2]], {"a": 1}, {1: 2}, {(1, 2): 3}, {None: None}, {1, 2})),
        lambda: functools.reduce(lambda inner, _: [inner], range(150), []),
        lambda: torch.zeros(0),
        lambda: torch.tensor(1.5),
        lambda: torch.zeros(chance.choice(((1,), (4,), (4, 4), (4, 3, 7, 7), (1, 0, 3, 3), (2, 2, 2, 2, 2, 2)))),
        lambda: torch.full((4, 4), float("nan")),
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.eye(3).to_sparse_csr(),
        lambda: torch.zeros(3, dtype=chance.choice((torch.complex64, torch.bool, torch.int64, torch.uint8))),
        lambda: torch.zeros(3, dtype=chance.choice((torch.half, torch.bfloat16, torch.float8_e4m3fn, torch.double))),
        lambda: torch.zeros(3, device="meta"),
        lambda: torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
        lambda: torch.zeros(1).expand(10**13),  # takes four bytes in the file
        lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
        lambda: torch.nn.Parameter(torch.zeros(2)),
        lambda: torch.zeros(4).double().t() if chance.random() < 0.5 else torch.zeros(4, 4).t()[1:],
        lambda: torch.Size((1, 2)),
        lambda: torch.float32,
    )
    return chance.choice(makers)()


def changed_checkpoint(data: bytes, chance: random.Random) -> bytes:
    """Return a file of torch in which one to three values are changed, left out or called otherwise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            values = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except (RuntimeError, pickle.UnpicklingError):
            return mutated(data, chance)
        for _ in range(chance.choice((1, 1, 2, 3))):
            values = changed_tree(values, chance, lambda: odd_value(chance))
        changed = io.BytesIO()
        torch.save(values, changed)
    return changed.getvalue()


CHANGE_CHECKPOINT = either((changed_checkpoint, changed_checkpoint, changed_zip))


@functools.cache
def networks() -> tuple[AnimationModel, AnimationModel]:
    """Return a small network twice, with weights of its own, as a run has it."""
    torch.manual_seed(0)
    model = AnimationModel(CONFIG)
    return model, copy.deepcopy(model).eval()


def fresh_run(path: Path) -> train.Run:
    """Return a training that is about to begin or to go on."""
    model, average = copy.deepcopy(networks())
    objective = train.TrainingModel(model, torch.nn.Identity(), train.StepConfig().loss_weights(), scales=1)
    return train.Run(path, CONFIG, model, average, objective, train.build_optimiser(objective, 1e-3), {})


def checkpoints(folder: Path) -> list[bytes]:
    """Return a checkpoint of averaged weights, and one that a training can go on from."""
    _, average = networks()
    weights = Checkpoint(CONFIG, average.state_dict(), 3, 12, 1.5, {"data": "none"})
    run = fresh_run(folder / "checkpoint.pt")
    for parameter in run.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    run.optimiser.step()
    run.save()
    whole = (folder / "checkpoint.pt").read_bytes()
    return [weights.to_bytes(), whole]


def read_start_of_training(path: Path) -> None:
    """Start a training from a checkpoint's weights, and go on with it."""
    weights, _ = read_start(path)
    model = copy.deepcopy(networks()[0])
    load_what_fits(model, weights)
    read_again(path)


def read_again(path: Path) -> None:
    """Go on with a training, by a step."""
    run = fresh_run(path)
    run.resume(path)
    for parameter in run.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    run.optimiser.step()


def stored_networks(folder: Path) -> list[bytes]:
    """Return a trained network in one file."""
    write_trained_network(TrainedNetwork(networks()[1], {"steps": 3}), folder / "network.safetensors")
    return [(folder / "network.safetensors").read_bytes()]


def read_stored(path: Path) -> None:
    """Read a trained network, and count what it computes."""
    read_trained_network(path)


def weights(folder: Path) -> list[bytes]:
    """Return a bundle's weights."""
    write_weights(networks()[1], folder / "weights.safetensors")
    return [(folder / "weights.safetensors").read_bytes()]


def chunk_lists(folder: Path) -> list[bytes]:
    """Return the lists of a checkpoint's chunks, of averaged weights and of the whole."""
    found = []
    for number, data in enumerate(checkpoints(folder)):
        (folder / f"{number}.pt").write_bytes(data)
        for whole in (False, True):
            write_chunks(folder / f"{number}.pt", folder / "chunks", 100_000, whole)
            found.append((folder / "chunks" / "chunks.json").read_bytes())
    return found


def read_chunks(path: Path) -> None:
    """Join chunks by a list of them."""
    (path.parent / "chunks" / "chunks.json").write_bytes(path.read_bytes())
    join_chunks(path.parent / "chunks", path.parent / "joined.pt")


def read_chunk(path: Path) -> None:
    """Join a single chunk whose list says that it is as it should be."""
    (folder := path.parent / "chunk").mkdir(exist_ok=True)
    data = path.read_bytes()
    (folder / "chunk-000.bin").write_bytes(data)
    listed = {"chunks": ["chunk-000.bin"], "sha256": hashlib.sha256(data).hexdigest(), "whole": False}
    (folder / "chunks.json").write_text(json.dumps(listed))
    join_chunks(folder, path.parent / "joined.pt")


def fomm_checkpoints(folder: Path) -> list[bytes]:
    """Return a checkpoint of the First Order Motion Model."""
    return [(ROOT / "tests" / "fixtures" / "fomm-tiny.pth.tar").read_bytes()]


TRAIN = ("train", "--data", "clips", "--out", "run")
COMMANDS = [
    command(*TRAIN, "--stages", "128x12:0.7,256/128x12:0.3", "--size", "tiny", "--rate", "6e-4"),
    command(*TRAIN, "--set", "mask_prior=4", "motion.width=48", "occlusion_widths=16,8", "--weight", "pixels=10"),
    command(*TRAIN, "--keypoints", "both", "--keypoint-count", "12", "--steps", "100", "--no-compile", "--seed", "3"),
    command(*TRAIN, "--subject", "body", "--minutes", "1.5", "--photo-px", "256", "--ema", "0.99", "--apart", "0.5"),
]


def read_training_command(path: Path) -> None:
    """Parse a command line of training/train.py, whose first line is the program's name."""
    _, *words = path.read_bytes().decode("utf-8", "surrogateescape").replace("\0", "").split("\n")
    with one_usage_error():
        parser = ProgramParser(prog="train")
        add_fields(parser, TrainingConfig)
        read_fields(parser, TrainingConfig, parser.parse_args(words))


def scores(folder: Path) -> list[bytes]:
    """Return what was measured of a row of a study."""
    study = STUDIES["mgif"]
    values = {"preset": study.rows[0], "seed": 0, "scores": {"L1": 0.05, "AKD": None}, "baseline": {"L1": 0.1}}
    counts = dict.fromkeys(("parameters", "frame_operations", "steps", "samples", "clips", "stride"), 3)
    return [json.dumps(values | counts).encode()]


def read_scores(path: Path) -> None:
    """Write a study's tables from what was measured."""
    (folder := path.parent / "study" / "row-seed0").mkdir(parents=True, exist_ok=True)
    (folder / "scores.json").write_bytes(path.read_bytes())
    write_page(STUDIES["mgif"], [path.parent / "study"], path.parent / "page.md")


LOG = (
    b"step,samples,elapsed_s,rate,samples_per_s,pixels,val L1\n"
    b"10,40,1.5,0.001,20.5,0.3,\n20,80,3.0,0.001,20.5,0.2,0.1\n"
)


def read_log(path: Path) -> None:
    """Go on with a log."""
    (folder := path.parent / "log").mkdir(exist_ok=True)
    (folder / "metrics.csv").write_bytes(path.read_bytes())
    log = Logbook(folder, 20)
    log.add(21, {"pixels": 0.5})
    log.write(21, 84, 4.0, 1e-3, {})
    log.close()


TORCH_TARGETS: Mapping[str, Target] = {
    "checkpoint": Target(checkpoints, ".pt", load_checkpoint, CHANGE_CHECKPOINT),
    "start": Target(checkpoints, ".pt", read_start_of_training, CHANGE_CHECKPOINT),
    "resume": Target(checkpoints, ".pt", read_again, changed_checkpoint),
    "network": Target(stored_networks, ".safetensors", read_stored, changed_header),
    "weights": Target(weights, ".safetensors", lambda path: read_model(path, CONFIG), changed_header),
    "chunks": Target(chunk_lists, ".json", read_chunks, changed_json),
    "chunk": Target(lambda folder: checkpoints(folder)[:1], ".bin", read_chunk, CHANGE_CHECKPOINT),
    "fomm": Target(fomm_checkpoints, ".pth.tar", lambda path: import_model(path, 256), CHANGE_CHECKPOINT),
    "metrics": Target(lambda folder: [b'{"L1": 0.25, "by": {"a": [1]}}'], ".json", read_metrics, changed_json),
    "training-options": Target(lambda folder: COMMANDS, ".txt", read_training_command, changed_lines),
    "scores": Target(scores, ".json", read_scores, changed_json),
    "log": Target(lambda folder: [LOG], ".csv", read_log, changed_lines),
}
