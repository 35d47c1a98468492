"""Model files: the safetensors format and writes that either happen or don't."""

from cybackprop.io.atomic import atomic_write, check_writable
from cybackprop.io.safetensors import load_tensors, parse_tensors, save_tensors

__all__ = ["atomic_write", "check_writable", "load_tensors", "parse_tensors", "save_tensors"]
