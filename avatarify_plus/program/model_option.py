"""What --model is, in every program that has it."""

SHIPPED_MODEL = "live-512"
"""The model that is used unless another is asked for."""

MODEL_HELP = "name of a shipped model or of one of your own (avatarify adapt), or folder of a bundle"
