"""Turn checkpoints into model bundles, and compare the engines that run them."""

import avatarify_plus  # noqa: F401  # before any runtime: it keeps them from reporting to their makers
