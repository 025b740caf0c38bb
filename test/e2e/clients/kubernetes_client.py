"""Kubernetes' Python client against a cluster: objects, patches, watches, custom resources, the dynamic client, reviews."""
from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException

config.load_kube_config()
core, apps, batch = client.CoreV1Api(), client.AppsV1Api(), client.BatchV1Api()
NAMESPACE = "python"


def expect(status, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except ApiException as error:
        assert error.status == status, error
        return error
    raise AssertionError(f"{call.__name__} did not answer {status}")


core.create_namespace({"metadata": {"name": NAMESPACE}})

# Objects.
made = core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "map"}, "data": {"a": "1"}})
assert made.metadata.creation_timestamp.tzinfo is not None
assert core.read_namespaced_config_map("map", NAMESPACE).data == {"a": "1"}
assert core.patch_namespaced_config_map("map", NAMESPACE, {"data": {"b": "2"}}).data == {"a": "1", "b": "2"}
expect(409, core.create_namespaced_config_map, NAMESPACE, {"metadata": {"name": "map"}})
invalid = expect(422, core.create_namespaced_config_map, NAMESPACE, {"metadata": {"name": "Bad"}})
assert "metadata.name" in invalid.body
page = core.list_namespaced_config_map(NAMESPACE, limit=1)
assert len(page.items) == 1
core.delete_namespaced_config_map("map", NAMESPACE)
expect(404, core.read_namespaced_config_map, "map", NAMESPACE)

# A deployment, watched until it is there.
utils.create_from_dict(client.ApiClient(), {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": NAMESPACE},
    "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
        "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}}},
})
watcher = watch.Watch()
for event in watcher.stream(apps.list_namespaced_deployment, NAMESPACE, timeout_seconds=20):
    if (event["object"].status.ready_replicas or 0) == 2:
        watcher.stop()
assert apps.read_namespaced_deployment("web", NAMESPACE).status.ready_replicas == 2
apps.patch_namespaced_deployment_scale("web", NAMESPACE, {"spec": {"replicas": 1}})
assert apps.read_namespaced_deployment_scale("web", NAMESPACE).spec.replicas == 1
pods = core.list_namespaced_pod(NAMESPACE, label_selector="app=web", field_selector="status.phase=Running")
assert pods.items and pods.items[0].status.pod_ip

# Jobs end.
batch.create_namespaced_job(NAMESPACE, {"metadata": {"name": "job"}, "spec": {"template": {"spec": {
    "restartPolicy": "Never", "containers": [{"name": "main", "image": "busybox"}]}}}})
for event in watcher.stream(batch.list_namespaced_job, NAMESPACE, timeout_seconds=20):
    if event["object"].status.succeeded:
        watcher.stop()

# Custom resources, by both clients.
client.ApiextensionsV1Api().create_custom_resource_definition({
    "metadata": {"name": "snakes.python.example.com"},
    "spec": {"group": "python.example.com", "scope": "Namespaced",
             "names": {"plural": "snakes", "singular": "snake", "kind": "Snake"},
             "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {
                 "type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]},
})
for event in watcher.stream(client.ApiextensionsV1Api().list_custom_resource_definition, timeout_seconds=20):
    conditions = event["object"].status.conditions if event["object"].status else None
    if any(one.type == "Established" and one.status == "True" for one in conditions or []):
        watcher.stop()
snakes = dynamic.DynamicClient(client.ApiClient()).resources.get(api_version="python.example.com/v1", kind="Snake")
snakes.create(namespace=NAMESPACE, body={
    "apiVersion": "python.example.com/v1", "kind": "Snake", "metadata": {"name": "kaa"}, "spec": {"length": 6}})
snakes.patch(namespace=NAMESPACE, name="kaa", content_type="application/merge-patch+json", body={
    "spec": {"venom": False}})
kaa = client.CustomObjectsApi().get_namespaced_custom_object("python.example.com", "v1", NAMESPACE, "snakes", "kaa")
assert kaa["spec"] == {"length": 6, "venom": False}, kaa

# Who may.
review = client.AuthorizationV1Api().create_self_subject_access_review(
    {"spec": {"resourceAttributes": {"verb": "create", "resource": "pods", "namespace": NAMESPACE}}})
assert review.status.allowed
assert client.VersionApi().get_code().major == "1"

core.delete_namespace(NAMESPACE)
print("all is well")
