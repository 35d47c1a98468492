"""Who stands beside whom: one small file a peer, each with a text `NAME` and some of these classes.

``Step(network, weights, batches, lr)`` builds model and optimizer from the given weights and loads the data;
``step(i)`` runs one whole training step on batch i and returns the loss as the peer has it, unread; ``float()`` reads
it.

``Loop(network, weights, parts, lr)`` is the same with the loop inside; ``run(i)`` trains over `networks.Part` i and
returns the mean loss of each pass.  ``TILED``: many passes over one batch are handed to it as few over copies of it,
since what it does once an epoch belongs to an epoch of many steps.

``Predict(network, weights)``: ``predict(row)`` takes and returns a NumPy array.

``Chain(links, value)``: ``run()`` is the gradient of the chain of tape.py, as a NumPy array.

``takes(network)`` says whether a peer can train that network; without it, it can train all.  ``COMPILES``: the first
call is a long one, and listed by itself.  Steps and loops are compared before they are timed (equal.py).
"""

import importlib

ONCE = {"ours": "ours", "compiled": "ours_compiled", "torch": "torch_eager", "torch.compile": "torch_compiled",
        "jax": "jax_jit", "sklearn": "sklearn_mlp", "thinc": "thinc_chain", "numpy": "numpy_hand"}
LOOP = {"ours fit": "ours", "jax scan": "jax_jit", "sklearn fit": "sklearn_mlp"}
PREDICT = {"ours": "ours", "compiled": "ours_compiled", "onnxruntime": "onnx_runtime", "numpy": "numpy_hand",
           "jax": "jax_jit", "torch": "torch_eager"}
CHAIN = {"compiled": "ours_compiled", "jax": "jax_jit"}
ALL = {**ONCE, "onnxruntime": "onnx_runtime"}
KERNELS = {"ours": "ours", "torch": "torch_eager", "numpy": "numpy_hand"}
OURS = ("ours", "compiled", "ours fit")


def load(names):
    """({name: module}, {name: error} of those that could not be imported) of such a table."""
    found, missing = {}, {}
    for name, file in names.items():
        try:
            found[name] = importlib.import_module(f"peers.{file}")
        except ImportError as error:
            missing[name] = str(error)
    return found, missing


def present(names, network=None):
    """{name: module} of those in a table that exist and, where a network is given, take it."""
    found, _ = load(names)
    return {name: module for name, module in found.items()
            if network is None or not hasattr(module, "takes") or module.takes(network)}
