"""The runtimes that compute the network: one contract, one file each."""

from avatarify_plus.engines.engine import ENGINES, Engine, Precision, Source, open_engine

__all__ = ["ENGINES", "Engine", "Precision", "Source", "open_engine"]
