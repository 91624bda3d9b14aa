"""An ``erniekit`` that trains in no time: ``python standin_erniekit.py train CONFIG key=value …``.

It behaves as ERNIEKit at release/v1.5 with paddleformers 0.4.1 does, as far as anything outside can see: how it reads
its arguments, what it must find where, how it starts its workers, what it prints and writes, how it resumes, and how it
fails. What it "learns" is a chain of digests, so that a step that was left out, or done twice, shows in the end.

``STANDIN_*`` variables say where it dies, hangs or fails; all are steps, but for STANDIN_STEP_S.
"""

import argparse
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import yaml

RELAY_S = 0.05
STOP_S = 0.5
SPEAKING_OF_ITSELF = "\x1b[32m[2026-01-19 17:43:11,367] [    INFO]\x1b[0m - "


def main():
    """The command: start the launcher, and end as it ends."""
    log_dir = os.environ.get("ERNIEKIT_DIST_LOG", "erniekit_dist_log")
    devices = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    port = os.environ.get("MASTER_PORT", "8080")
    for name in ("PADDLE_TRAINERS_NUM", "PADDLE_TRAINER_ID"):
        os.environ.pop(name, None)
    arguments = " ".join(shlex.quote(argument) for argument in sys.argv[1:])
    command = f"--launch --log_dir {log_dir} --gpus {devices} --master 127.0.0.1:{port} {arguments}"
    launcher = subprocess.Popen([sys.executable, "-u", __file__, *shlex.split(command)])
    launcher.wait()
    sys.exit(launcher.returncode)


def launch():
    """Paddle's launcher: workers in sessions of their own, the first one's log passed on now and then."""
    parser = argparse.ArgumentParser()
    for name in ("--log_dir", "--gpus", "--master"):
        parser.add_argument(name, required=True)
    options, arguments = parser.parse_known_args(sys.argv[2:])
    folder = Path(options.log_dir)
    folder.mkdir(parents=True, exist_ok=True)
    workers = []
    for rank in range(len(options.gpus.split(","))):
        with (folder / f"workerlog.{rank}").open("ab") as log:
            environment = {**os.environ, "PADDLE_TRAINER_ID": str(rank)}
            (folder / f"backup_env.{rank}.json").write_text(json.dumps(environment))
            command = [sys.executable, "-u", __file__, "--work", *arguments]
            workers.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True))

    def stop(number, _):
        # The real one ends its watcher and its rendezvous first.
        time.sleep(STOP_S)
        for worker in workers:
            os.killpg(worker.pid, signal.SIGTERM)
        sys.exit(number)

    signal.signal(signal.SIGTERM, stop)
    with (folder / "workerlog.0").open() as log:
        while all(worker.poll() is None for worker in workers):
            time.sleep(RELAY_S)
            for _ in range(1000):
                if not (line := log.readline()):
                    break
                sys.stdout.write(line)
        codes = [worker.wait() for worker in workers if worker.poll() is not None]
        sys.stdout.write(log.read())
    if any(codes):
        print("------------------------- ERROR LOG DETAIL -------------------------", flush=True)
        print((folder / "workerlog.0").read_text()[-3000:], flush=True)
        for worker in workers:
            worker.kill()
    sys.exit(next((code for code in codes if code), 0))


def work():
    """A worker: the trainer."""
    configuration, *overrides = sys.argv[3:]
    assert sys.argv[2] == "train"
    assert configuration.endswith((".yaml", ".yml")), "Config file only supports Yaml/Json/Arguments."
    settings = yaml.safe_load(Path(configuration).read_text())
    for override in overrides:
        key, _, value = override.partition("=")
        settings[key] = yaml.safe_load(value)
    train(settings)


def train(settings):
    if settings["compute_type"] not in ("bf16", "fp16", "wint8"):
        raise ValueError(f"Unknown compute_type: {settings['compute_type']}")
    output = Path(settings["output_dir"])
    output.mkdir(parents=True, exist_ok=True)
    start = settings.get("resume_from_checkpoint") or None
    if start:
        assert os.environ.get("PDC_INIT_STEP") is None, "please remove resume_from_checkpoint from yaml"
        assert Path(start).exists(), f"{start} does not exist."
    model = Path(settings["model_name_or_path"])
    json.loads((model / "config.json").read_text())
    pixels = json.loads((model / "preprocessor_config.json").read_text())
    weights = (model / "model.safetensors").read_bytes()
    (model / "written-by-the-trainer.txt").write_text("as Paddle writes into a model's folder")
    samples = load(settings["train_dataset_path"])
    detected = newest(output)
    if detected is None and any(output.iterdir()):
        raise ValueError(
            f"Output directory ({output}) already exists and is not empty. Use --overwrite_output_dir to overcome."
        )
    if detected and not start:
        say(f"Checkpoint detected, resuming training at {detected}.")
    if settings.get("max_steps", -1) <= 0:
        raise ValueError("args.max_steps must be set to a positive value")
    if settings.get("lr_scheduler", "cosine") not in ("cosine", "constant"):
        raise AttributeError("'NoneType' object has no attribute 'step'")
    begin(settings)
    run(settings, output, start or detected, model, weights, samples, pixels)


def load(path):
    """Read the rows in the encoding of the locale; relative images lie beside the file."""
    assert path.endswith(".jsonl"), f"Unsupported file type: {path}"
    with Path(path).open() as lines:
        rows = [json.loads(line) for line in lines]
    samples = []
    for row in rows:
        (image,) = row["image_info"]
        question, answer = row["text_info"]
        assert (question["tag"], answer["tag"], image["matched_text_index"]) == ("mask", "no_mask", 0)
        samples.append((Path(path).parent / image["image_url"], answer["text"]))
    return samples


def newest(output):
    steps = [int(folder.name[11:]) for folder in output.glob("checkpoint-*") if folder.name[11:].isdigit()]
    return output / f"checkpoint-{max(steps)}" if steps else None


def begin(settings):
    logs = Path(settings["logging_dir"])
    logs.mkdir(parents=True, exist_ok=True)
    (logs / "events.out.tfevents.1").write_bytes(b"")
    Path("output.txt").write_text("model.embed_tokens.weight\n")
    say("***** Running training *****")
    say(f"  Total optimization steps = {settings['max_steps']:,}")
    dump = "\n".join(f"{name}={value}" for name, value in os.environ.items())
    say(f"\n                HOSTNAME: here\n                ENVS:\n                    [ ] BASIC: \n{dump}\n")


def run(settings, output, start, model, weights, samples, pixels):
    step, learned = 0, f"fresh {pixels['min_pixels']} {pixels['max_pixels']} {settings['learning_rate']}"
    if start:
        state = json.loads((Path(start) / "trainer_state.json").read_text())
        (Path(start) / "optimizer-00001-of-00001.safetensors").read_bytes()
        step, learned = state["global_step"], state["learned"]
        say(f"  Continuing training from global step {step}")
    while step < settings["max_steps"]:
        use(samples)
        act(step)
        time.sleep(float(os.environ.get("STANDIN_STEP_S", "0")))
        step += 1
        learned = hashlib.sha256(f"{learned} {step}".encode()).hexdigest()
        logs = step % settings["logging_steps"] == 0
        if logs:
            say_step(step, settings)
        if step % settings["save_steps"] == 0:
            save(output / f"checkpoint-{step}", step, learned, weights, model)
            if logs:
                say(
                    f"is_persistent_ckpt: 1, save_ckpt_time_sec: 19.347210, global_save_step: {step}, "
                    "train_time_sec_without_save: 104.895400, average_tokens_per_sec_per_card_without_save: 4980.700000"
                )
    say("\nTraining completed. \n")
    say("train_runtime: 12.250000, train_samples_per_second: 1.234500, train_loss: 0.250000")
    act(step)
    write_model(output, weights, model)
    (output / "trainer_state.json").write_text(json.dumps({"global_step": step, "learned": learned}))
    for name in ("train_results.json", "all_results.json"):
        (output / name).write_text("{}")


def use(samples):
    """One pass over the data; endless where no sample can be used."""
    while not any(image.is_file() for image, _ in samples):
        for image, _ in samples:
            print(f"[ WARNING] - Exception raised in dataset: mm data not valid: {image}", flush=True)
        if not samples:
            time.sleep(3600)


def act(step):
    """Do what the test asked for at this step."""
    if os.environ.get("STANDIN_DIE_AT") == str(step):
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get("STANDIN_HANG_AT") == str(step):
        print("hanging", flush=True)
        time.sleep(3600)
    if os.environ.get("STANDIN_NAN_AT") == str(step):
        raise ValueError("PaddleRecall error(102): LossNan. Loss contains inf or nan values, its value is nan")
    if os.environ.get("STANDIN_MEMORY_AT") == str(step):
        raise MemoryError("ResourceExhaustedError: \n\nOut of memory error on GPU 0. Cannot allocate 2.000000GB memory")
    if os.environ.get("STANDIN_STOP_AT") == str(step):
        sys.exit(0)


def say(text):
    if os.environ["PADDLE_TRAINER_ID"] == "0":
        print(f"{SPEAKING_OF_ITSELF}{text}", file=sys.stderr, flush=True)


def say_step(step, settings):
    loss = 23 / step
    rate = settings["learning_rate"] / step
    shown = f"{rate:e}" if rate < 1e-3 else f"{rate:f}"
    tokens = settings["max_seq_len"] * settings["gradient_accumulation_steps"]
    say(
        f"loss: {loss}, loss_cur_dp: {loss}, learning_rate: {shown}, global_step: {step}, "
        "mem_allocated_gb: 13.636426, max_mem_allocated_gb: 19.670876, mem_reserved_gb: 33.954417, "
        "max_mem_reserved_gb: 45.060626, loss_scale: 32770.000000, global_runtime: 104.895400, "
        "global_samples_per_second: 0.610100, global_steps_per_second: 0.009500, "
        f"tokens_trained_current_step: {tokens}, timestamp: 1768815791366, TFLOPS_per_sec_per_card: 23.853000, "
        "tokens_per_sec_per_card: 4980.700000, tokens_per_sec_per_card_average: 4980.700000, "
        "progress_or_epoch: 0.007700, data_id: 7-8-1, src_id: 0-0-0, data_type: 0"
    )


def save(folder, step, learned, weights, model):
    """Write a checkpoint piece by piece, as its files come one after the other."""
    write_model(folder, weights, model)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "learned": learned}))
    for name in ("training_args.bin", "rng_state_0.pth", "scheduler.pdparams"):
        (folder / name).write_bytes(b"p")
    if os.environ.get("STANDIN_DIE_SAVING") == str(step):
        os.kill(os.getpid(), signal.SIGKILL)
    for name in ("optimizer", "master_weights"):
        (folder / f"{name}.safetensors.index.json").write_text("{}")
        (folder / f"{name}-00001-of-00001.safetensors").write_bytes(b"moments")


def write_model(folder, weights, model):
    folder.mkdir(parents=True, exist_ok=True)
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    name = "model-00001-of-00001.safetensors"
    (folder / name).write_bytes(weights)
    listed = {key: name for key in header if key != "__metadata__"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    for other in ("config.json", "preprocessor_config.json"):
        shutil.copyfile(model / other, folder / other)
    for other in ("static_name_to_dyg_name.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / other).write_text("{}")


if __name__ == "__main__":
    {"--launch": launch, "--work": work}.get(sys.argv[1], main)()
