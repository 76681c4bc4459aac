"""What the pages of studio and service have in common: the page itself, and who may see it."""
