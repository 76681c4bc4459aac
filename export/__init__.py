"""Turn checkpoints into model bundles, and compare the engines that run them."""
