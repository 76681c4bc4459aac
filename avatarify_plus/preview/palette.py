"""The preview's colours, RGB: dark and quiet, so that the faces draw the eye."""

from avatarify_plus.pictures.text import Colour

GROUND: Colour = (23, 25, 29)
"""Between and around the pictures."""
EMPTY: Colour = (34, 37, 43)
"""Where a picture will be, before there is one."""
BRIGHT: Colour = (232, 234, 238)
QUIET: Colour = (146, 152, 163)
ACCENT: Colour = (126, 200, 190)
WARNING: Colour = (245, 189, 92)
ALARM: Colour = (255, 122, 110)
