"""Which of the plans (built TensorRT engines) serve a model here, and what to say if none does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from avatarify_plus.bundle import Bundle
from avatarify_plus.engines.tensorrt_plans import (
    PORTABLE,
    RECIPE,
    CachedPlan,
    PlanCache,
    PlanKey,
    build_command,
    bundle_argument,
    graph_precisions,
    model_digests,
)
from avatarify_plus.errors import EngineError
from avatarify_plus.network import tensor_names

AUTO = ("int8", "fp16", "fp32")
"""The precisions that "auto" looks for, fastest first."""

LOWEST_PORTABLE = (8, 0)
"""The lowest compute capability that PORTABLE plans serve."""


@dataclass(frozen=True, slots=True)
class Target:
    """What plans run on, on this machine.

    versions: of the installed libraries by name. capability, gpu: the GPU's, see `PlanKey`.
    """

    versions: dict[str, str]
    capability: str
    gpu: str

    def objections(self, found: PlanKey, models: tuple[str, ...]) -> list[tuple[str, str]]:
        """Return why a plan cannot serve one of these models here, as pairs (how it was built, what is here)."""
        version = self.versions.get(found.library, "")
        others = " and ".join(f"{name} {other}" for name, other in self.versions.items())
        checks = [
            (found.model in models, "from another state of the model", "the model has changed"),
            (found.recipe == RECIPE, "by another version of this program", "the program has changed"),
            (
                _serves(found.capability, self.capability),
                f"for compute capability {found.capability}",
                f"compute capability {self.capability}",
            ),
            (found.gpu in ("", self.gpu), f"for {found.gpu}", self.gpu),
            (found.version == version, f"by {found.library} {found.version}", others),
        ]
        return [(built, present) for is_fine, built, present in checks if not is_fine]


def _serves(capability: str, wanted: str) -> bool:
    """Return whether a plan for a compute capability runs on a GPU of another, such as "8.6"."""
    if capability != PORTABLE:
        return capability == wanted
    major, minor = wanted.split(".")
    return (int(major), int(minor)) >= LOWEST_PORTABLE


def choose_plans(cache: PlanCache, bundle: Bundle, precision: str, target: Target) -> tuple[str, dict[str, CachedPlan]]:
    """Return a precision and the plan of each graph that serve a bundle here, all of one library.

    precision: "auto" takes the fastest that is built. Raises EngineError that says what is missing or does not fit.
    """
    entries = list(cache.entries())
    for candidate in AUTO if precision == "auto" else (precision,):
        for library in target.versions:
            found = {
                graph: _best_fit(entries, bundle, graph, kind, library, target)
                for graph, kind in graph_precisions(bundle.config, candidate).items()
            }
            complete = {graph: entry for graph, entry in found.items() if entry is not None}
            if len(complete) == len(found):
                return candidate, complete
    raise EngineError(_complaint(entries, cache.folder, bundle, precision, target))


def _best_fit(
    entries: list[CachedPlan], bundle: Bundle, graph: str, precision: str, library: str, target: Target
) -> CachedPlan | None:
    """Return a plan that serves here, if possible one that was built for this GPU."""
    models = model_digests(bundle, graph, precision)
    fitting = [
        entry
        for entry in entries
        if (entry.key.graph, entry.key.precision, entry.key.library) == (graph, precision, library)
        and not target.objections(entry.key, models)
    ]
    return min(fitting, key=lambda entry: entry.key.capability == PORTABLE, default=None)


def _complaint(entries: list[CachedPlan], folder: Path, bundle: Bundle, precision: str, target: Target) -> str:
    argument = bundle_argument(bundle)
    choice = "" if precision == "auto" else f" --precision {precision}"
    command = build_command(argument) + choice
    own = [
        found
        for found, name in ((entry.key, entry.bundle) for entry in entries)
        if name == argument or found.model in model_digests(bundle, found.graph, found.precision)
    ]
    wanted = [found for found in own if found.graph == tensor_names.ANIMATE and precision in ("auto", found.precision)]
    if not wanted:
        others = sorted({found.precision for found in own if found.graph == tensor_names.ANIMATE})
        kind = "" if precision == "auto" else f"{precision} "
        there_are = f", only {', '.join(others)}" if others else ""
        return f"no {kind}TensorRT engine of {argument} is built in {folder}{there_are}: run {command}"
    nearest, objections = min(
        ((found, target.objections(found, model_digests(bundle, found.graph, found.precision))) for found in wanted),
        key=lambda pair: len(pair[1]),
    )
    if not objections:
        return f"the TensorRT engines of {argument} in {folder} are not complete: run {command}"
    built, present = zip(*objections, strict=True)
    return (
        f"the {nearest.precision} TensorRT engine of {argument} was built {', '.join(built)}; "
        f"here: {', '.join(present)}: run {command}"
    )
