"""One analysis a file, all of one signature."""
