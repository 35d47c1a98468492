"""A training run as one file: parameters, moments, counters, position, callbacks; exact to the bit."""

import json
import operator

import numpy as np

from cybackprop.errors import ModelFileError
from cybackprop.io import load_tensors, save_tensors
from cybackprop.ops.random import Generator

KEY = "cybackprop.trainer"
PARTS = {"parameters": dict, "optimizer": dict, "schedule": dict | None, "rng": list, "generators": list,
         "history": dict, "step": int, "epochs": int, "unfinished": bool, "plan": list, "plan_epoch": int,
         "batch": int,
         "order_at": list | None, "sum": list, "callbacks": list}


def split(prefix, tree, arrays):
    """JSON-able twin of a nest; arrays move to `arrays` by name and leave {"array": name} behind."""
    if isinstance(tree, np.ndarray):
        arrays[prefix] = tree
        return {"array": prefix}
    if isinstance(tree, dict):
        return {"dict": {k: split(f"{prefix}/{k}", v, arrays) for k, v in tree.items()}}
    if isinstance(tree, (list, tuple)) and len(tree) > 32 and {type(v) for v in tree} in ({int}, {float}):
        arrays[prefix] = np.array(tree)                # a long history would outgrow the header
        return {"list": prefix}
    if isinstance(tree, (list, tuple)):
        return [split(f"{prefix}/{i}", v, arrays) for i, v in enumerate(tree)]
    if isinstance(tree, np.generic):
        return tree.item()
    return tree


def join(tree, arrays):
    """The nest that `split` took apart."""
    if isinstance(tree, dict):
        if "list" in tree:
            return arrays[tree["list"]].tolist()
        return arrays[tree["array"]] if "array" in tree else {k: join(v, arrays) for k, v in tree["dict"].items()}
    return [join(v, arrays) for v in tree] if isinstance(tree, list) else tree


def save(path, state):
    """Write the state of a trainer."""
    arrays = {}
    tree = split("state", state, arrays)
    save_tensors(path, arrays, {KEY: json.dumps(tree)})


def load(path):
    """Read what `save` wrote; ModelFileError for anything else."""
    arrays, metadata = load_tensors(path)
    if KEY not in metadata:
        raise ModelFileError(f"{path} holds tensors but no training run; Trainer.save writes those")
    try:
        state = join(json.loads(metadata[KEY]), arrays)
        wrong = [name for name, kind in PARTS.items() if name not in state or not isinstance(state[name], kind)]
        for pair in (state["rng"], state["order_at"] or state["rng"], *state["generators"]):
            Generator().state = pair
        float(state["sum"][0]), operator.index(state["sum"][1])
        epochs, logs = state["history"]["epoch"], state["history"]["history"]
        if not all(isinstance(v, list) and len(v) == len(epochs) for v in logs.values()):
            wrong.append("history")
        wrong += [f"callback {i}" for i, c in enumerate(state["callbacks"]) if not isinstance(c, dict)]
        wrong += [k for k in ("groups", "steps", "moments") if k not in state["optimizer"]]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ModelFileError(f"{path} holds a damaged training run ({type(error).__name__}: {error})") from None
    if wrong:
        raise ModelFileError(f"{path} holds a damaged training run: {', '.join(wrong)} missing or of another kind")
    return state
