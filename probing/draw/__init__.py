"""Drawing: three values, three renderers, one file of marks."""
