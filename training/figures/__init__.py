"""Moving figures to train on that are not faces: bodies, posed and rendered, and drawn animals."""
