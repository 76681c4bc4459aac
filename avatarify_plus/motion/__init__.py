"""How the driver's movement becomes the avatar's: arithmetic on keypoints."""
