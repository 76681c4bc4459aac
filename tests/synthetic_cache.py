"""A decoded cache made of nothing: coloured blobs under the mean face's mesh, which moves; and its first batches."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import numpy as np
import torch

from avatarify_plus.motion.keypoints import load_mesh_layout
from avatarify_plus.types import Keypoints
from training.data.cache import Cache
from training.data.pairs import Batch, PairOptions, PairSampler, Pool, mesh_mirror
from training.data.warp import Renderer
from training.loop.loader import BatchLoader, BatchNeeds
from training.loop.ranks import Ranks
from training.loop.schedule import Stage


def mean_face() -> np.ndarray:
    """Return the (478, 2) mean face of the mesh layout."""
    file = resources.files("avatarify_plus") / "mesh_layouts" / "face-20.json"
    return np.asarray(json.loads(file.read_text())["mean_face"])


def write_cache(folder: Path, counts: dict[str, int], size: int = 64, seed: int = 0) -> Path:
    """Write a cache of clips, named identity_number, of these frame counts. Each mesh point is where its colour is."""
    random = np.random.default_rng(seed)
    total, start = sum(counts.values()), 0
    frames = np.zeros((total, size, size, 3), np.uint8)
    landmarks = np.zeros((total, 478, 3), np.float32)
    clips = []
    line = (np.arange(size) + 0.5) / size
    for name, count in counts.items():
        colours = random.uniform(0.2, 1, (3, 3))
        for row in range(start, start + count):
            turn = np.eye(2) * random.uniform(0.18, 0.24) + random.normal(0, 0.02, (2, 2))
            mesh = mean_face() @ turn.T + 0.5 + random.normal(0, 0.03, 2)
            mesh += random.normal(0, 0.003, mesh.shape)
            picture = np.zeros((size, size, 3))
            for colour, point in zip(colours, (33, 263, 13), strict=True):
                x, y = mesh[point]
                distance = (line[None, :] - x) ** 2 + (line[:, None] - y) ** 2
                picture += colour * np.exp(-distance / 0.01)[..., None]
            frames[row] = (np.clip(picture, 0, 1) * 255).astype(np.uint8)
            landmarks[row, :, :2] = mesh
        clips.append({"name": name, "identity": name.split("_")[0], "start": start, "count": count})
        start += count
    folder.mkdir(parents=True, exist_ok=True)
    frames.tofile(folder / "frames.u8")
    landmarks.tofile(folder / "landmarks.f32")
    index = {"wanted": {"size": size, "paths": []}, "count": total, "clips": clips}
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def tiny_command(data: Path, out: Path, *more: str) -> list[str]:
    """Return training arguments for a network that makes a step in some tens of milliseconds."""
    return [
        *("--data", str(data), "--out", str(out), "--preset", "ours-skip", "--size", "tiny"),
        *("--set", "image_size=64", "motion_size=16", "--stages", "64x4:1", "--device", "cpu"),
        *("--precision", "fp32", "--weight", "identity=0", "perceptual=0", "--rate", "1e-3"),
        *more,
    ]


def rendered(
    cache: Cache, options: PairOptions, stage: Stage, count: int, seed: int = 1, needs: BatchNeeds | None = None
) -> Batch:
    """Return the first batches of a cache, joined; a single one, whatever it needs, as it is."""
    layout, cpu = load_mesh_layout("face-20"), torch.device("cpu")
    pool = Pool([cache])
    sampler, renderer = PairSampler(pool, layout, options, seed), Renderer(layout, mesh_mirror("face-20"), cpu)
    with BatchLoader(sampler, pool, renderer, Ranks(0, 1, cpu), hold_frames=False, needs=needs) as loader:
        batches = [loader.batch(index, stage) for index in range(count)]
    if count == 1:
        return batches[0]
    joined = [
        Keypoints(*map(torch.cat, zip(*parts, strict=True))) if isinstance(parts[0], tuple) else torch.cat(parts)
        for parts in list(zip(*batches, strict=True))[:6]  # without flow and what follows it
    ]
    return Batch(*joined)
