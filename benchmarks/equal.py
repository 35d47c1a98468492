"""Before anything is timed: equal weights, equal data in equal order, equal losses."""

from report import table

STEPS = 100
TOLERANCE = 1e-4                         # relative, float32


def check(networks, peers, out):
    """Train every network 100 steps with every peer; returns whether all losses agree."""
    rows, fine = [], True
    for network in networks:
        out.progress(f"{network.name}: {STEPS} steps of each")
        weights, batches = network.weights(), network.batches()
        curves = {name: curve(module.Step(network, weights, batches, network.equal_lr), len(batches))
                  for name, module in peers.items()}
        ours = curves["ours"]
        worst = {name: max((abs(a - b) / abs(b), i) for i, (a, b) in enumerate(zip(ours, other, strict=True)))
                 for name, other in curves.items() if name != "ours"}
        equal = all(difference <= TOLERANCE for difference, _ in worst.values())      # NaN is not equal
        fine &= equal
        rows.append([f"{network.name} {network.shape} b{network.batch}", len(ours), f"{ours[0]:.4f}", f"{ours[-1]:.4f}",
                     *[f"{difference:.1e} at {i}" for difference, i in worst.values()], "equal" if equal else "DIFFER"])
        out.record("equal", network.name, "ours", "worst relative difference", max(d for d, _ in worst.values()))
    out.say(table(["network", "steps", "first loss", "last loss", *[f"from {n}" for n in peers if n != "ours"], ""],
                  rows))
    out.say(f"from: the largest relative difference of our loss, and its step; up to {TOLERANCE:g} is equal")
    return fine


def curve(peer, batches):
    """The loss of each of 100 steps, walking through the batches in order."""
    return [float(peer.step(i % batches)) for i in range(STEPS)]
