"""Apps and functions: what the client defines is what the server has, and every kind of call works."""

from __future__ import annotations

import json

from conftest import wait_until
from fakemodal import FakeModal, decode_args
from fakemodal.tests.client import modal_cli, run, script


def test_a_detached_app_ends_when_it_has_nothing_to_do(cloud: FakeModal) -> None:
    assert "answer 81" in modal_cli(cloud, "run", "--detach", "sample_app.py", "--x", "9").stdout
    assert decode_args(cloud.rpcs("FunctionMap")[0]["req"]["pipelined_inputs"][0]["input"]) == ((9,), {})
    assert [app["created_with"] for app in cloud.describe()["apps"]] == ["APP_STATE_DETACHED"]
    wait_until(lambda: cloud.describe()["apps"][0]["state"] == "APP_STATE_STOPPED", "the app ends")
    assert not cloud.describe()["unimplemented"]


def test_a_definition_arrives_whole(shared: FakeModal) -> None:
    train = shared.function("train")
    assert train["resources"] == {
        "memory_mb": 32768,
        "milli_cpu": 4000,
        "ephemeral_disk_mb": 524288,
        "gpu_config": {"count": 1, "gpu_type": "H100"},
    }
    assert (train["timeout_secs"], train["startup_timeout_secs"]) == (600, 100)
    assert (train["retry_policy"]["retries"], train["single_use_containers"]) == (2, True)
    assert train["autoscaler_settings"]["max_containers"] == 2
    assert [mount["mount_path"] for mount in train["volume_mounts"]] == ["/models", "/data"]
    assert any("paddlepaddle-gpu==3.2.0" in command for command in shared.image_commands(train["image_id"]))
    assert shared.mounted_files("train") == ["/root/sample_app.py"]


def test_every_kind_of_call_works(shared: FakeModal) -> None:
    result = script(
        shared,
        """
        square = modal.Function.from_name("sample", "square")
        Model = modal.Cls.from_name("sample", "Model")
        call = modal.Function.from_name("sample", "named_objects").spawn()
        inside = call.get()
        shared, queue = modal.Dict.from_name("shared"), modal.Queue.from_name("queue")
        result = {
            "map": list(square.map([1, 2, 3])),
            "errors": [repr(each) for each in square.map([1, -1], return_exceptions=True)],
            "generator": list(modal.Function.from_name("sample", "count").remote_gen(4)),
            "class": Model.with_options(gpu="A100-80GB")(name="ocr").predict.remote("hi"),
            "big": len(modal.Function.from_name("sample", "big").remote(3_000_000)),
            "own id": inside == call.object_id,
            "shared": [shared["status"], queue.get(timeout=5)],
            "unknown": name_of_error(modal.Function.from_name("sample", "nothing").remote),
        }
        """,
    )
    assert result == {
        "map": [1, 4, 9],
        "errors": ["1", "ValueError('negative: -1')"],
        "generator": [0, 1, 2, 3],
        "class": "loaded ocr: hi on A100-80GB:1",
        "big": 3_000_000,
        "own id": True,
        "shared": [{"loss": 0.5}, "from the container"],
        "unknown": "NotFoundError",
    }
    wait_until(lambda: "exit hook ran" in shared.logs(), "the container of the class ends")


def test_apps_are_tagged_listed_and_stopped(shared: FakeModal) -> None:
    result = script(
        shared,
        """
        import sample_app
        with sample_app.app.run(detach=True):
            first = sample_app.app.get_tags()
            sample_app.app.set_tags({"run": "one"})
            call = sample_app.sleepy.spawn(50)
            result = [first, sample_app.app.get_tags(), sample_app.app.app_id, call.object_id]
        """,
    )
    assert result[:2] == [{"kind": "test"}, {"run": "one"}]
    assert [app["tags"] for app in shared.describe()["apps"] if app["id"] == result[2]] == [{"run": "one"}]
    listed = json.loads(modal_cli(shared, "app", "list", "--json").stdout)
    assert result[2] in [row["app_id"] for row in listed]
    wait_until(lambda: "sleeping" in shared.logs(result[2]), "the call runs")
    modal_cli(shared, "app", "stop", result[2], "--yes")
    gone = f"result = name_of_error(lambda: modal.FunctionCall.from_id('{result[3]}').get(timeout=9))"
    assert script(shared, gone) == "RemoteError"


def test_what_the_platform_refuses_is_refused(shared: FakeModal) -> None:
    result = script(
        shared,
        """
        import sample_app

        def start(**options):
            app = modal.App("refused")
            app.function(**options)(sample_app.plain)
            with app.run():
                return "started"

        result = [
            name_of_error(lambda: start(gpu="H1000")),
            name_of_error(lambda: start(timeout=86_401)),
            name_of_error(lambda: start(retries=modal.Retries(max_retries=10, initial_delay=0.0))),
            name_of_error(lambda: start(secrets=[modal.Secret.from_name("none")])),
            name_of_error(lambda: start(secrets=[modal.Secret.from_name("hf-token", required_keys=["OTHER"])])),
            name_of_error(lambda: start(secrets=[modal.Secret.from_dict({"A": "b"})])),
        ]
        """,
    )
    assert result == ["InvalidError", "InvalidError", "started", "NotFoundError", "NotFoundError", "started"]


def test_a_wrong_token_is_refused_and_what_is_missing_is_counted(shared: FakeModal) -> None:
    refused = run(shared, "-m", "modal", "app", "list", check=False, MODAL_TOKEN_ID="ak-wrong")
    assert refused.returncode != 0
    assert "Token" in refused.stderr + refused.stdout
    unknown = "result = name_of_error(lambda: modal.NetworkFileSystem.from_name('n').listdir('/'))"
    assert script(shared, unknown) == "UnimplementedError"
    assert shared.describe()["unimplemented"]["SharedVolumeGetOrCreate"] == 1
