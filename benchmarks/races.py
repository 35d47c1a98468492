"""Who is ahead: our times beside the fastest peer's in each table, and the figures made of them."""

from peers import OURS, ours_compiled
from report import NOT_BUILT

# the tables: a call a step, and the loops, both on one hot batch and on rows from memory
ONE_CALL, ONE_CALL_EPOCH, LOOPS = "once", "once epoch", ("hot", "epoch")


def own(cells):
    """Ours in a table: what is compiled where there is such, else the eager step; of the loops, the fit."""
    return next(cells[name] for name in ("compiled", "ours", "ours fit") if name in cells)


def fastest(cells):
    """(name, Measured, times ours) of the fastest peer; turn by turn, since they stood side by side."""
    times = {name: m.over(own(cells)) for name, m in cells.items() if name not in OURS}
    name = min(times, key=times.get)
    return name, cells[name], times[name]


def times(cells, name):
    """How many times our time this peer takes."""
    return cells[name].over(own(cells))


def figures(out):
    """Put what the tables of this run say about thresholds.toml into out.figures."""
    for name, tables in out.races.items():
        once = [tables[which] for which in (ONE_CALL, ONE_CALL_EPOCH) if which in tables]
        loops = [tables[which] for which in LOOPS if which in tables]
        if once:
            out.figures[f"grid.{name}.torch"] = once[0]["torch"].over(once[0]["ours"])     # both eager
            out.figures[f"once.{name}.fastest"] = min(fastest(t)[2] for t in once)
            out.figures[f"once.{name}.torch"] = min(times(t, "torch") for t in once)
        if loops:
            out.figures[f"loop.{name}.jax"] = min(times(t, "jax scan") for t in loops)
        if once and len(loops) == len(LOOPS):
            out.figures[f"all.{name}.fastest"] = min(fastest(t)[2] for t in once + loops)
        if not ours_compiled.BUILT:
            for figure in (f"once.{name}.fastest", f"once.{name}.torch", f"all.{name}.fastest"):
                if figure in out.figures:
                    out.figures[figure] = NOT_BUILT
