"""Model files: the safetensors format, programs in it, and writes that either happen or don't."""

from cybackprop.io.atomic import atomic_write, check_writable
from cybackprop.io.programs import LoadedProgram, ProgramFile, load_program
from cybackprop.io.safetensors import load_tensors, parse_tensors, save_tensors

__all__ = ["LoadedProgram", "ProgramFile", "atomic_write", "check_writable", "load_program", "load_tensors",
           "parse_tensors", "save_tensors"]
