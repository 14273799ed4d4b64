"""Coconut GPT-2 models: problems, prompts, the one thought loop, training and evaluation.

Index convention, used everywhere in this project
-------------------------------------------------
``h_k`` is the model's last hidden state (after ``ln_f``) once it has had ``k`` continuous thoughts; ``h_0`` is
read at the last prompt token. **Thought t is** ``h_(t-1)``, fed back as the next input embedding (Hao et al. 2024,
section 3). On a graph search, thought ``t`` should hold the nodes at distance ``t`` from the root, because
``lm_head(h_k)`` is the model's distribution over the node at hop ``k + 1``.
"""

import os
import signal
import sys

if sys.argv[:1] == ["-m"]:  # as a command: until ``cli.run`` begins, imports take seconds and there is nothing to clean

    def _stop(*_: object) -> None:
        os.write(2, b"stopped\n")
        os._exit(130)

    signal.signal(signal.SIGINT, _stop)
