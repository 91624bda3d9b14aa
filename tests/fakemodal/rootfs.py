"""What a container starts from: files of mounts and image layers, environment variables, volumes, arguments."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from modal_proto import api_pb2 as api

from .cloud import Cloud
from .launcher import Launch
from .objects import Function
from .store import Store
from .volumes import MountedVolume

ARGUMENTS_PATH = "/fakemodal.args"
TASK_HEADER = "x-fake-task-id"  # says which container an RPC comes from
# As on Modal: volumes are mounted here, and their mount paths are links to it.
VOLUMES_PATH = "/__modal/volumes"


class RootFolder:
    """An ordinary folder that becomes the root of a container, with ``/root`` for the working directory.

    ``RUN`` lines of an image are not run: the programs and packages are those that the options expose.
    """

    def __init__(self, folder: Path, cloud: Cloud, function: Function, container_id: str) -> None:
        self._folder, self._cloud, self._function, self._container_id = folder, cloud, function, container_id
        self._working = "/root"
        self._environment = self._base_environment()

    def launch(self, volumes: dict[str, MountedVolume], layout: api.AppLayout) -> Launch:
        """Fill the folder and say how the container is started."""
        definition, options = self._function.definition, self._cloud.options
        self._folder.mkdir()
        for layer in self._cloud.image_layers(definition.image_id):
            self._apply_layer(layer)
        for mount_id in definition.mount_ids:
            for file in self._cloud.mounts[mount_id]:
                self._place(file.filename, file)
        self._set_environment(definition)
        self._write_arguments(layout)
        return Launch(
            user_namespace=options.user_namespace,
            root=str(self._folder),
            exposed=list(options.exposed),
            hidden=list(options.hidden),
            bound=[self._bind(mount, volumes[mount.volume_id]) for mount in definition.volume_mounts],
            folder=self._working,
            arguments=[options.container_python, "-m", "modal._container_entrypoint"],
            environment=self._environment,
        )

    def _base_environment(self) -> dict[str, str]:
        cloud, resources = self._cloud, self._function.definition.resources
        environment = {
            "PATH": f"{Path(cloud.options.container_python).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": "/root",
            "MODAL_IS_REMOTE": "1",
            "MODAL_SERVER_URL": cloud.url,
            "MODAL_TASK_ID": self._container_id,
            "MODAL_ENVIRONMENT": cloud.options.environment,
            "MODAL_IMAGE_ID": self._function.definition.image_id,
            "MODAL_CLOUD_PROVIDER": "FAKE",
            "MODAL_REGION": "fake-1",
            "MODAL_HEARTBEAT_INTERVAL": "2",
            "MODAL_DISABLE_API_PROXY": "1",
            "MODAL_OVERRIDE_HEADERS": f"{TASK_HEADER}:{self._container_id}",
            "MODAL_CONTAINER_ARGUMENTS_PATH": ARGUMENTS_PATH,
        }
        if resources.gpu_config.count:
            environment["FAKEMODAL_GPU"] = f"{resources.gpu_config.gpu_type}:{resources.gpu_config.count}"
        return environment

    def _set_environment(self, definition: api.Function) -> None:
        for secret_id in definition.secret_ids:
            self._environment.update(self._cloud.secrets[secret_id].environment)
        for name, value in self._cloud.options.container_env.items():
            in_front = name in ("PATH", "PYTHONPATH")
            self._environment[name] = f"{value}:{self._environment[name]}" if in_front else value

    def _apply_layer(self, layer: api.Image) -> None:
        for line in layer.dockerfile_commands:
            word, _, rest = line.strip().partition(" ")
            if word == "ENV":
                pairs = [pair.partition("=") for pair in shlex.split(rest)]
                self._environment.update({name: value for name, equals, value in pairs if equals})
            elif word == "WORKDIR":
                self._working = rest.strip().strip("\"'")
            elif word == "COPY" and layer.context_mount_id:
                self._copy(self._cloud.mounts[layer.context_mount_id], shlex.split(rest))

    def _copy(self, files: Iterable[api.MountFile], words: Sequence[str]) -> None:
        """``COPY <source> <target>`` from a context mount, in the two forms that the client writes."""
        source, target = words[0].lstrip("./").rstrip("/"), posixpath.join(self._working, words[-1])
        for file in files:
            name = file.filename.lstrip("/")
            if name == source:
                into = posixpath.join(target, posixpath.basename(name)) if target.endswith("/") else target
                self._place(into, file)
            elif not source or name.startswith(source + "/"):
                self._place(posixpath.join(target, name[len(source) :].lstrip("/")), file)

    def _place(self, name: str, file: api.MountFile) -> None:
        target = self._folder / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self._cloud.store.content(file.sha256_hex).read_bytes())
        if file.mode:
            target.chmod(file.mode & 0o777)

    def _write_arguments(self, layout: api.AppLayout) -> None:
        function = self._function
        arguments = api.ContainerArguments(
            task_id=self._container_id,
            function_id=function.id,
            app_id=function.app_id,
            function_def=function.definition,
            serialized_params=function.parameters,
            environment_name=self._cloud.options.environment,
            app_layout=layout,
        )
        (self._folder / ARGUMENTS_PATH.lstrip("/")).write_bytes(arguments.SerializeToString())

    def _bind(self, mount: api.VolumeMount, volume: MountedVolume) -> tuple[str, str, bool]:
        """Where a volume is mounted; its mount path becomes a link to that place."""
        place = f"{VOLUMES_PATH}/{mount.volume_id}"
        link = self._folder / mount.mount_path.strip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(posixpath.join(place, mount.sub_path.strip("/")).rstrip("/"))
        (volume.folder / mount.sub_path.strip("/")).mkdir(parents=True, exist_ok=True)
        return str(volume.folder), place, mount.read_only


def mount_volumes(definition: api.Function, store: Store, folder: Path, live: bool) -> dict[str, MountedVolume]:
    """A view of each volume that a function mounts, by the volume's id."""
    return {
        mount.volume_id: MountedVolume(store.volumes[mount.volume_id], folder / mount.volume_id, live)
        for mount in definition.volume_mounts
    }
