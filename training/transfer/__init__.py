"""Data to a GPU without internet, and weights back."""
