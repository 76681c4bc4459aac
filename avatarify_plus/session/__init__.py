"""One run of the loop: the avatars, what a frame goes through, and what keys do meanwhile."""
