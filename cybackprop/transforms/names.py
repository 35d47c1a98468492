"""Names of the arguments of a function: parameters, then keys and places inside."""

import inspect

from cybackprop.transforms.arguments import pack


def is_module(thing):
    """Whether a thing is a Module; its changes are counted."""
    return callable(getattr(type(thing), "named_modules", None))


def join(*parts):
    """A path of parts that may be empty."""
    return "/".join(p for p in parts if p)


def argument_names(function, spec, count):
    """The path of each leaf of the arguments: parameter names, then keys and places inside."""
    args, kwargs = pack(spec, range(count))
    signature = inspect.signature(function.forward if is_module(function) else function)
    names = [""] * count

    def walk(path, node):
        if isinstance(node, dict):
            parts = node.items()
        elif isinstance(node, (list, tuple)):
            parts = enumerate(node)
        elif hasattr(type(node), "__dataclass_fields__"):
            parts = vars(node).items()
        else:
            names[node] = path
            return
        for key, part in parts:
            walk(join(path, str(key)), part)

    bound = signature.bind(*args, **kwargs)
    for name, node in bound.arguments.items():
        spread = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
        walk("" if spread else name, node)
    return names


def leaf_names(function, spec, count):
    """The same for messages: numbers where the function does not say."""
    try:
        return argument_names(function, spec, count)
    except (TypeError, ValueError):
        return [f"argument {k}" for k in range(count)]
