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
    """Put what the tables of this run say about thresholds.toml into out.figures, and how far it could go."""
    for name, tables in out.races.items():
        limits(name, tables, out)
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


def limits(name, tables, out):
    """Put into out.limits what the figures of a network would be at the FMA peak."""
    if name not in out.at_peak:
        return

    def limit(which, peers):
        possible = [m.median / out.at_peak[name] for table in which if table in tables
                    for peer, m in tables[table].items() if peer in peers]
        return min(possible, default=None)

    calls, loops = (ONE_CALL, ONE_CALL_EPOCH), LOOPS
    peers = {peer for table in tables.values() for peer in table} - set(OURS)
    found = {f"once.{name}.fastest": limit(calls, peers), f"once.{name}.torch": limit(calls, {"torch"}),
             f"loop.{name}.jax": limit(loops, {"jax scan"}), f"all.{name}.fastest": limit(calls + loops, peers)}
    out.limits |= {figure: value for figure, value in found.items() if value is not None}
