"""Training: settings, curriculum, loop, run folders, training dynamics."""
