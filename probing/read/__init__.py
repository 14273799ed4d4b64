"""Reading thoughts: node scores, metrics, one problem's report."""
