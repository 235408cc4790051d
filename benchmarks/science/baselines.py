"""The two baselines of the page."""

from statistics import mean
from typing import Any

from benchmarks.science.campaign import ACTIVATION_MARKS, ACTIVATION_ROWS, LOSS_DATA
from benchmarks.science.figures import Cell, miners, percent, proportion, spread, table

MINERS = ("honest", "partial:0.75", "partial:0.5", "partial:0.25", "other", "unmarked", "base", "noise")


def loss_section(results: dict[str, Any]) -> str:
    wanted = {"rows": ACTIVATION_ROWS, "n": ACTIVATION_MARKS, "scheme": "canary", "method": "full", "model": "llama"}
    changes: dict[str, dict[str, list[Cell]]] = {
        data: {miner: cells for miner in MINERS if (cells := miners(results, data=data, miner=miner, **wanted))}
        for data in LOSS_DATA
    }
    rows = []
    for miner in MINERS:
        entries = [
            spread([cell["loss_change"] for cell in changes[data][miner]], 2) if miner in changes[data] else ""
            for data in LOSS_DATA
        ]
        if any(entries):
            rows.append([miner, *entries])
    if not rows:
        return ""
    return (
        "Mean change of the loss of the rows of D_train, returned model minus base, nats a token (range over "
        "trainings).\n\n" + table(["miner", *LOSS_DATA], rows) + "\n" + _carried_over(changes)
    )


def _carried_over(changes: dict[str, dict[str, list[Cell]]]) -> str:
    """What a threshold that separates honest from half-trained miners on one dataset does on another."""
    rows = []
    for source, of_source in changes.items():
        if not {"honest", "partial:0.5"} <= of_source.keys():
            continue
        threshold = mean(mean(cell["loss_change"] for cell in of_source[miner]) for miner in ("honest", "partial:0.5"))
        for target, of_target in changes.items():
            if target == source or not {"honest", "partial:0.5"} <= of_target.keys():
                continue
            refused = [cell["loss_change"] > threshold for cell in of_target["honest"]]
            accepted = [cell["loss_change"] <= threshold for cell in of_target["partial:0.5"]]
            rows.append(
                [
                    source,
                    f"{threshold:.2f}",
                    target,
                    proportion(sum(refused), len(refused)),
                    proportion(sum(accepted), len(accepted)),
                ]
            )
    if not rows:
        return ""
    return (
        "The loss has no null distribution: what a model that never saw the rows would show is not known. A "
        "threshold has to be set on other data, half-way between honest and half-trained miners there:\n\n"
        + table(["set on", "threshold", "used on", "honest miners refused", "half-trained miners paid"], rows)
    )


def proof_of_learning_section(results: dict[str, Any]) -> str:
    cells = [cell for name, cell in results["cells"].items() if name.startswith("science/proof-of-learning/")]
    if not cells:
        return ""

    def distances(part: str, name: str) -> list[float]:
        return [distance for cell in cells for distance in cell[part][name]["distances"]]

    rows = [
        [text, spread(distances(part, name), 2)]
        for part, name, text in (
            ("provers", "honest", "honest, verified on the same machine"),
            ("environments", "two threads", "honest, verified with two threads"),
            ("environments", "bfloat16", "honest, verified in bfloat16"),
            ("provers", "partial", "trained on half of the rows"),
            ("provers", "interpolated", "trained on half, checkpoints on a straight line"),
            ("provers", "untrained", "the base model all along"),
        )
    ]
    cost = [cell["cost"] for cell in cells]
    training, verification, partial_training = (
        mean(entry[key] for entry in cost) for key in ("training_s", "verification_s", "partial_training_s")
    )
    segments, epochs = len(cells[0]["segments"]), cells[0]["epochs"]
    cheats = [distance for name in ("partial", "interpolated", "untrained") for distance in distances("provers", name)]
    is_separated = max(distances("provers", "honest")) < min(cheats)
    nearest = max(distances("environments", "bfloat16"))
    return (
        f"{len(cells)} tasks of {cells[0]['rows']} generated rows, {epochs} epochs; {segments} segments of one epoch "
        "are trained again. Distance: 0 is reproduced, 1 has nothing in common (range over segments).\n\n"
        + table(["miner", "distance"], rows)
        + f"\nVerification takes {verification:.1f} CPU s, {percent(verification / training, 0)} of the training's "
        f"{training:.1f} (a miner that trains on half spends {partial_training:.1f}), and the miner hands over "
        f"{mean(entry['checkpoint_bytes'] for entry in cost) / 2**20:.0f} MiB of checkpoints, "
        f"{mean(entry['checkpoint_bytes'] / entry['model_bytes'] for entry in cost):.0f} times the model. On the same "
        f"machine it {'separates' if is_separated else 'does not separate'} honest miners from the others, and it "
        "needs no marks; but it needs every checkpoint, the order of the rows, and arithmetic that is the same to "
        f"the bit: verified in another precision, an honest segment ends {nearest:.2f} away, the nearest forged one "
        f"on the same machine {min(cheats):.2f}. Attacks that construct checkpoints are known (Zhang et al. 2022) "
        "and were not tried.\n"
    )
