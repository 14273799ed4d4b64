"""Editing thoughts: edits, their effects, the verdict."""
