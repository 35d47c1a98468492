"""Who is ahead: our times beside the fastest peer's in each table, and the figures made of them."""

from peers import OURS

# the tables: a call a step, and the loops, both on one hot batch and on rows from memory
ONE_CALL, ONE_CALL_EPOCH, LOOPS = "once", "once epoch", ("hot", "epoch")
CALLS = (ONE_CALL, ONE_CALL_EPOCH)
# figure of thresholds.toml, the tables of whose ratios it is the least, the peer (None: the fastest)
FIGURES = (("once.{}.fastest", CALLS, None), ("once.{}.torch", CALLS, "torch"), ("loop.{}.jax", LOOPS, "jax scan"),
           ("all.{}.fastest", CALLS + LOOPS, None))


def own(cells):
    """Ours in a table: what is compiled where there is such, else the eager step; of the loops, the fit."""
    return next(cells[name] for name in ("compiled", "ours", "ours fit") if name in cells)


def fastest(cells):
    """(name, Measured, times ours) of the fastest peer; turn by turn, since they stood side by side."""
    times = {name: m.over(own(cells)) for name, m in cells.items() if name not in OURS}
    name = min(times, key=times.get)
    return name, cells[name], times[name]


def times(cells, peer):
    """How many times our time a peer takes; None: the fastest."""
    return fastest(cells)[2] if peer is None else cells[peer].over(own(cells))


def possible(cells, peer, at_peak):
    """The same, were ours products at the FMA peak and nothing else."""
    peers = [m.median for name, m in cells.items() if name not in OURS and peer in (None, name)]
    return min(peers) / at_peak


def figures(out):
    """Put what the tables of this run say about thresholds.toml into out.figures, and how far it could go into
    out.limits."""
    for network, tables in out.races.items():
        if ONE_CALL in tables:
            cells = tables[ONE_CALL]
            out.figures[f"grid.{network}.torch"] = cells["torch"].over(cells["ours"])           # both eager
        for figure, over, peer in FIGURES:
            races = [tables[which] for which in over if which in tables]
            if len(races) < len(over):
                continue
            name = figure.format(network)
            out.figures[name] = min(times(cells, peer) for cells in races)
            if network in out.at_peak:
                out.limits[name] = min(possible(cells, peer, out.at_peak[network]) for cells in races)
