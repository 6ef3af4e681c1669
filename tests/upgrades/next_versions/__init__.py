"""Revisions as a later release could bring them, after whatever is the newest: one expands, the next contracts."""
