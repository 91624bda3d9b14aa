"""Definitions of functions and classes, and their variants."""

from __future__ import annotations

from grpclib import GRPCError, Status
from modal_proto import api_pb2 as api

from fakemodal.cloud import Cloud, missing
from fakemodal.layout import function_data, function_metadata
from fakemodal.objects import App, Function
from fakemodal.scheduling import Scheduler

from .subject import From, Request, Subject

_GPUS = frozenset(
    "T4 L4 A10 A10G L40S A100 A100-40GB A100-80GB H100 H100! H200 B200 B200+ B300 RTX-PRO-6000 ANY".split()  # noqa: SIM905
)
# Limits that only the platform checks.
_LONGEST_TIMEOUT_S, _MOST_RETRIES, _LARGEST_DISK_MIB = 86_400, 10, 3_145_728
# Options of a variant that take the place of the function's own, and those that are added to them.
_REPLACED, _ADDED = ("volume_mounts", "secret_ids"), ("mount_ids", "cloud_bucket_mounts")


class Functions(Subject):
    def __init__(self, cloud: Cloud, scheduler: Scheduler) -> None:
        super().__init__(cloud, scheduler)
        self._variants: dict[tuple[bytes, bytes], str] = {}

    def FunctionPrecreate(self, request: Request, container: From) -> api.FunctionPrecreateResponse:
        function_id = request.existing_function_id or self.cloud.new_id("fu")
        if function_id not in self.cloud.functions:
            empty = Function(function_id, request.app_id, request.function_name, api.Function())
            self.cloud.functions[function_id] = empty
        function = self.cloud.functions[function_id]
        sketch = api.Function(
            function_name=request.function_name,
            function_type=request.function_type,
            function_schema=request.function_schema,
            supported_input_formats=request.supported_input_formats,
            supported_output_formats=request.supported_output_formats,
        )
        for name, method in request.method_definitions.items():
            sketch.method_definitions[name].CopyFrom(method)
        function.metadata = function_metadata(function, sketch)
        return api.FunctionPrecreateResponse(function_id=function_id, handle_metadata=function.metadata)

    def FunctionCreate(self, request: Request, container: From) -> api.FunctionCreateResponse:
        ranked = request.HasField("function_data")
        definition = request.function_data.ranked_functions[0].function if ranked else request.function
        _check_limits(definition)
        function = self.cloud.functions.get(request.existing_function_id)
        if function is None:
            function = Function(self.cloud.new_id("fu"), request.app_id, definition.function_name, definition)
            self.cloud.functions[function.id] = function
        for old in self.scheduler.containers_of(function):  # of the version before: they take no more inputs
            old.stopping = True
        function.definition = definition
        function.metadata = function_metadata(function, definition)
        return api.FunctionCreateResponse(
            function_id=function.id,
            function=definition,
            handle_metadata=function.metadata,
            function_data=function_data(function),
        )

    def FunctionGet(self, request: Request, container: From) -> api.FunctionGetResponse:
        app = self._deployed(request)
        if request.object_tag not in app.function_ids:
            raise missing(f"Function '{request.object_tag}' not found in app '{request.app_name}'")
        function = self.cloud.functions[app.function_ids[request.object_tag]]
        return api.FunctionGetResponse(
            function_id=function.id, handle_metadata=function.metadata, function=function_data(function)
        )

    def FunctionGetById(self, request: Request, container: From) -> api.FunctionGetByIdResponse:
        function = self.cloud.find(self.cloud.functions, request.function_id)
        return api.FunctionGetByIdResponse(function=function_data(function), handle_metadata=function.metadata)

    def ClassCreate(self, request: Request, container: From) -> api.ClassCreateResponse:
        class_id = request.existing_class_id or self.cloud.new_id("cs")
        return api.ClassCreateResponse(class_id=class_id, handle_metadata=api.ClassHandleMetadata())

    def ClassGet(self, request: Request, container: From) -> api.ClassGetResponse:
        app = self._deployed(request)
        if request.object_tag not in app.class_ids:
            raise missing(f"Class '{request.object_tag}' not found in app '{request.app_name}'")
        class_id = app.class_ids[request.object_tag]
        return api.ClassGetResponse(class_id=class_id, handle_metadata=api.ClassHandleMetadata())

    def FunctionBindParams(self, request: Request, container: From) -> api.FunctionBindParamsResponse:
        """A variant of a function: with class parameters, other options, or both."""
        base = self.cloud.find(self.cloud.functions, request.function_id)
        key = (request.SerializeToString(deterministic=True), base.definition.SerializeToString(deterministic=True))
        if key not in self._variants:
            definition = _with_options(base.definition, request.function_options)
            _check_limits(definition)
            made = Function(
                self.cloud.new_id("fu"), base.app_id, base.name, definition, base.id, request.serialized_params
            )
            made.metadata = function_metadata(made, definition)
            self.cloud.functions[made.id] = made
            self._variants[key] = made.id
        function = self.cloud.functions[self._variants[key]]
        return api.FunctionBindParamsResponse(bound_function_id=function.id, handle_metadata=function.metadata)

    def FunctionUpdateSchedulingParams(
        self, request: Request, container: From
    ) -> api.FunctionUpdateSchedulingParamsResponse:
        function = self.cloud.find(self.cloud.functions, request.function_id)
        settings = function.definition.autoscaler_settings
        settings.MergeFrom(request.settings)
        return api.FunctionUpdateSchedulingParamsResponse(current_settings=settings)

    def _deployed(self, request: Request) -> App:
        self.cloud.check_environment(request.environment_name)
        if request.app_name not in self.cloud.deployed:
            raise missing(f"App '{request.app_name}' not found in environment '{self.cloud.options.environment}'")
        return self.cloud.apps[self.cloud.deployed[request.app_name]]


def _check_limits(definition: api.Function) -> None:
    gpu, policy = definition.resources.gpu_config.gpu_type, definition.retry_policy
    refused = {
        f"Unknown GPU type: {gpu}": gpu and gpu not in _GPUS,
        f"timeout must be at most {_LONGEST_TIMEOUT_S} seconds": definition.timeout_secs > _LONGEST_TIMEOUT_S,
        f"at most {_MOST_RETRIES} retries are allowed": policy.retries > _MOST_RETRIES,
        "ephemeral disk is too large": definition.resources.ephemeral_disk_mb > _LARGEST_DISK_MIB,
    }
    for reason, holds in refused.items():
        if holds:
            raise GRPCError(Status.INVALID_ARGUMENT, reason)


def _with_options(base: api.Function, options: api.FunctionOptions) -> api.Function:
    definition = api.Function()
    definition.CopyFrom(base)
    for field, value in options.ListFields():
        name = field.name
        if name in _REPLACED:
            definition.ClearField(name)
        if name in _REPLACED or name in _ADDED:
            getattr(definition, name).extend(value)
        elif name == "resources":
            definition.resources.MergeFrom(value)
        elif name in ("retry_policy", "scheduler_placement"):
            getattr(definition, name).CopyFrom(value)
        elif name == "concurrency_limit":
            definition.concurrency_limit = definition.autoscaler_settings.max_containers = value
        elif name in definition.DESCRIPTOR.fields_by_name:
            setattr(definition, name, value)
    return definition
