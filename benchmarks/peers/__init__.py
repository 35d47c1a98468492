"""Who stands in the grid: one small file a peer, each with a class `Step` and a text `NAME`.

``Step(network, weights, batches, lr)`` builds model and optimizer from the given weights and loads the data;
``step(i)`` runs one whole training step on batch i and returns the loss as the peer has it, unread;
``float()`` reads it.  Steps are compared before they are timed (equal.py).
"""

import importlib

PEERS = {"ours": "peers.ours", "torch": "peers.torch_eager", "numpy": "peers.numpy_hand"}


def load():
    """({name: module}, {name: error} of those that could not be imported)."""
    found, missing = {}, {}
    for name, module in PEERS.items():
        try:
            found[name] = importlib.import_module(module)
        except ImportError as error:
            missing[name] = str(error)
    return found, missing
