"""What the training loop is made of: batches, validation, checkpoints, records."""
