"""Where the face is: its mesh, and the square around the head."""
