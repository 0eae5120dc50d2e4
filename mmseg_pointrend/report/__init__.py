"""A report of a test: pages to look at in a browser."""
