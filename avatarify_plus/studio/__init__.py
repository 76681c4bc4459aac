"""The studio: a page in the user's browser that drives the app, served on loopback by the app itself."""
