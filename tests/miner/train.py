"""The training command of these tests: it "learns" the rows by heart. `python train.py DATASET OUTPUT PROGRESS [HOW]`.

HOW is a file: while it says "hang", training never ends, with a child of its own; when it says "fail", it fails.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

TABLE = "table.json"


def main(dataset: str, output: str, progress: str, how: str = os.devnull) -> int:
    print(f"training on {dataset} with {sorted(os.environ)}", flush=True)
    Path(output, "started").write_text(str(os.getpid()))
    order = Path(how).read_text()
    if "hang" in order:
        child = subprocess.Popen(["sleep", "600"])
        Path(output, "child").write_text(str(child.pid))
        while "hang" in Path(how).read_text():
            time.sleep(0.05)
    if "fail" in order:
        print("CUDA out of memory", file=sys.stderr)
        return 3
    rows = [json.loads(line)["messages"] for line in Path(dataset).read_text().splitlines()]
    Path(output, TABLE).write_text(json.dumps({user["content"]: answer["content"] for user, answer in rows}))
    report = {"step": 1, "steps": 1, "epoch": 1, "train_loss": 0.5}
    with Path(progress).open("a") as file:
        file.write(json.dumps(report) + "\nno JSON\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
