"""Measurements and experiments behind docs/; not part of the installed package."""
