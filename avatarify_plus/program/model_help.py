"""What --model is, in every program that has it."""

MODEL_HELP = "name of a shipped model or of one of your own (avatarify adapt), or folder of a bundle"
