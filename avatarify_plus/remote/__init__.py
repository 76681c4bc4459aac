"""An avatar that another machine computes: what both ends have in common, and the end with the webcam."""
