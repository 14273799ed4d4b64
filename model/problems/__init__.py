"""ProsQA problems: exact facts, generator, audit, arrays."""
