"""A trainer in a hundredth of a second: ``python standin_engine.py CONFIG``.

It speaks the lines of the real one. What it "learns" is a chain of digests, so that a step that was left out, or done
twice, shows in what it ends with.
"""

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path


def learn(learned, step):
    return hashlib.sha256(f"{learned} {step}".encode()).hexdigest()


def save(config, step, learned):
    folder = Path(config["checkpoints"]) / f"checkpoint-{step}"
    beside = folder.with_name(f".{folder.name}.engine.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    (beside / "model.safetensors").write_text(learned)
    (beside / "trainer.json").write_text(json.dumps({"step": step, "learned": learned}))
    if folder.exists():
        shutil.rmtree(folder)
    beside.rename(folder)
    say(f"saved checkpoint-{step}")


def say(line):
    print(line, flush=True)


def main():
    config = json.loads(Path(sys.argv[1]).read_text())
    stop = []
    signal.signal(signal.SIGTERM, signal.SIG_IGN if config.get("deaf") else lambda *_: stop.append(1))
    step, learned = 0, "fresh"
    if config["resume_from"]:
        state = json.loads((Path(config["resume_from"]) / "trainer.json").read_text())
        step, learned = state["step"], state["learned"]
    for line in config.get("first", []):
        say(line)
    while step < config["max_steps"]:
        if step == config.get("hang_at"):
            say("hanging")
            while not stop:
                time.sleep(0.01)
        if stop and not config.get("finish"):
            save(config, step, learned)
            sys.exit(75)
        if step == config.get("die_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        if step == config.get("fail_at"):
            say(config["words"])
            sys.exit(1)
        if step == config.get("end_at"):
            sys.exit(0)
        step += 1
        learned = learn(learned, step)
        say(f"loss: {1 / step!r}, learning_rate: 0.001, global_step: {step}, grad_norm: 1.0")
        if step % 3 == 0:
            say(f"eval_loss: {2 / step!r}, global_step: {step}")
        if step % config["save_steps"] == 0 or step == config["max_steps"]:
            save(config, step, learned)
    if config.get("fail_at") == step:
        say(config["words"])
        sys.exit(1)


main()
