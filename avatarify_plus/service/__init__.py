"""Avatars for callers on other machines: sessions, turns, and the web application that lets them in."""
