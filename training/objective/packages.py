"""Where pip packages that carry weights lie, without importing them."""

from importlib.util import find_spec
from pathlib import Path

from avatarify_plus.errors import ConfigError


def package_folder(module: str, package: str) -> Path:
    """Return the folder of a module. Raises ConfigError that names the pip package if it is not installed."""
    found = find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise ConfigError(f"{module} is not installed: pip install {package}")
    return Path(found.submodule_search_locations[0])
