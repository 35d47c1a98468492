"""A training run as one file: parameters, moments, counters, position, callbacks; exact to the bit."""

import operator

import numpy as np

from cybackprop.errors import ModelFileError
from cybackprop.io import load_tensors, save_tensors
from cybackprop.ops.random import Generator

KEY = "cybackprop.trainer"
PARTS = {"parameters": dict, "optimizer": dict, "schedule": dict | None, "rng": list, "generators": list,
         "history": dict, "step": int, "epochs": int, "unfinished": bool, "plan": list, "plan_epoch": int,
         "batch": int, "order_at": list | None, "sum": list, "callbacks": list}


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
    import json  # here: most programs have no such file

    arrays = {}
    tree = split("state", state, arrays)
    save_tensors(path, arrays, {KEY: json.dumps(tree)})


def load(path):
    """Read what `save` wrote; ModelFileError for anything else."""
    import json  # see save

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


def state_of(trainer):
    """All that a run consists of, by the names of PARTS."""
    t, schedule = trainer, trainer.schedule
    return {"parameters": t.model.state_dict(), "optimizer": t.optimizer.state_dict(),
            "schedule": None if schedule is None else schedule.state_dict(),
            "rng": list(t.rng.state), "generators": [list(g.state) for g in t._members.generators()],
            "history": t.history.state_dict(), "step": t.step, "epochs": t.epochs, "unfinished": t.unfinished,
            "plan": t._plan, "plan_epoch": t._plan_epoch, "batch": t._batch,
            "order_at": None if t._order_at is None else list(t._order_at), "sum": list(t._sum),
            "callbacks": t._callback_states}


def restore(trainer, state, path):
    """Make a new trainer the one that `state_of` described; what does not fit changes nothing."""
    model, optimizer, schedule = trainer.model, trainer.optimizer, trainer.schedule
    generators = trainer._members.generators()
    if len(state["generators"]) != len(generators) or (schedule is None) != (state["schedule"] is None):
        raise ValueError(f"Trainer.load: {path} was saved with {len(state['generators']) - 1} generators "
                         f"in the model and {'no' if state['schedule'] is None else 'a'} schedule; "
                         "make model and schedule the same way")
    before = model.state_dict(), None if schedule is None else schedule.state_dict()
    model.load_state_dict(state["parameters"])
    try:
        if schedule is not None:
            schedule.load_state_dict(state["schedule"])
        optimizer.load_state_dict(state["optimizer"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        model.load_state_dict(before[0])
        if schedule is not None:
            schedule.load_state_dict(before[1])
        raise ModelFileError(f"{path} does not fit this optimizer and schedule: {error}") from error
    trainer.rng.state = state["rng"]
    for generator, saved in zip(generators, state["generators"], strict=True):
        generator.state = saved
    trainer.history.load_state_dict(state["history"])
    trainer.step, trainer.epochs, trainer.unfinished = state["step"], state["epochs"], state["unfinished"]
    trainer._plan, trainer._plan_epoch, trainer._batch = state["plan"], state["plan_epoch"], state["batch"]
    trainer._order_at = None if state["order_at"] is None else tuple(state["order_at"])
    trainer._sum, trainer._callback_states = tuple(state["sum"]), state["callbacks"]
