"""Metrics that look at object boundaries."""
