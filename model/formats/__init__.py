"""Graphs and problems in the formats people have them in."""
