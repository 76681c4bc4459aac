"""Trials, run through the app's engines or a trained network, scored and reported."""
