"""The page Intervene."""
