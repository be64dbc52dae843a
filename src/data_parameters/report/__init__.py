"""A run as one web page: pure functions from what a run found to one HTML text."""
