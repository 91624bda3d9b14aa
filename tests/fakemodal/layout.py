"""How apps, functions and volumes are described to clients and containers."""

from __future__ import annotations

from modal_proto import api_pb2 as api

from .cloud import Cloud
from .objects import App, Function
from .volumes import Volume


def app_layout(cloud: Cloud, app: App, definition: api.Function | None = None) -> api.AppLayout:
    """The objects of an app; a container also needs those that its function depends on."""
    layout = api.AppLayout(function_ids=app.function_ids, class_ids=app.class_ids)
    for object_id in app.function_ids.values():
        layout.objects.add(object_id=object_id, function_handle_metadata=cloud.functions[object_id].metadata)
    for object_id in app.class_ids.values():
        layout.objects.add(object_id=object_id, class_handle_metadata=api.ClassHandleMetadata())
    for dependency in definition.object_dependencies if definition else ():
        entry = layout.objects.add(object_id=dependency.object_id)
        if dependency.object_id in cloud.store.volumes:
            entry.volume_metadata.CopyFrom(volume_metadata(cloud.store.volumes[dependency.object_id]))
    return layout


def app_lifecycle(app: App) -> api.AppLifecycle:
    return api.AppLifecycle(
        app_state=app.state,
        created_at=app.created_at,
        deployed_at=app.deployed_at,
        version=app.version,
        stopped_at=app.stopped_at,
        created_by="fake-user",
    )


def app_metadata(cloud: Cloud, app: App) -> api.AppHandleMetadata:
    return api.AppHandleMetadata(
        description=app.name,
        app_id=app.id,
        environment_name=cloud.options.environment,
        lifecycle=app_lifecycle(app),
        functions=app.function_ids,
    )


def volume_metadata(volume: Volume) -> api.VolumeMetadata:
    created = api.CreationInfo(created_at=volume.created_at)
    return api.VolumeMetadata(version=volume.version, name=volume.name, creation_info=created)


def function_metadata(function: Function, definition: api.Function) -> api.FunctionHandleMetadata:
    metadata = api.FunctionHandleMetadata(
        function_name=definition.function_name,
        function_type=definition.function_type,
        is_method=definition.is_method,
        definition_id=f"de-{function.id[3:]}",
        base_function_id=function.base,
        class_parameter_info=definition.class_parameter_info,
        function_schema=definition.function_schema,
        app_id=function.app_id,
        supported_input_formats=definition.supported_input_formats,
        supported_output_formats=definition.supported_output_formats,
    )
    if definition.webhook_config.type:
        metadata.web_url = f"https://fake--{definition.function_name}.modal.invalid"
    for name, method in definition.method_definitions.items():
        metadata.method_handle_metadata[name].CopyFrom(
            api.FunctionHandleMetadata(
                function_name=method.function_name,
                function_type=method.function_type,
                use_method_name=name,
                is_method=True,
                function_schema=method.function_schema,
                supported_input_formats=method.supported_input_formats,
                supported_output_formats=method.supported_output_formats,
                app_id=function.app_id,
                definition_id=metadata.definition_id,
            )
        )
    return metadata


def function_data(function: Function) -> api.FunctionData:
    definition = function.definition
    data = api.FunctionData(
        ranked_functions=[api.FunctionData.RankedFunction(rank=0, function=definition)],
        module_name=definition.module_name,
        function_name=definition.function_name,
        function_type=definition.function_type,
        timeout_secs=definition.timeout_secs,
        startup_timeout_secs=definition.startup_timeout_secs,
        is_class=definition.is_class,
        is_method=definition.is_method,
        is_server=definition.is_server,
        implementation_name=definition.implementation_name,
        autoscaler_settings=definition.autoscaler_settings,
    )
    for name, method in definition.method_definitions.items():
        data.method_definitions[name].CopyFrom(method)
    return data
