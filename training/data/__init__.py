"""Clips and photos: found, decoded once, paired and rendered."""
