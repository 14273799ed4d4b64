"""Open up continuous thoughts: decode them, score them against the true search frontier, edit them.

Layers: ``app`` draws, ``probing`` measures, ``model`` thinks; imports point only downward. The index convention
(state h_k, thought t = h_(t-1)) is written in ``model/__init__.py``.
"""
