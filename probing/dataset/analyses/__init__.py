"""One analysis per file, all of one signature."""
