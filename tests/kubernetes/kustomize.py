"""What `kustomize build` makes of deploy/kubernetes: as much of it as stands there, so that the tests need no Go.

A word of a kustomization that is not known here is an error, never passed over. Names of ConfigMaps have no hash.
"""

import re
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

_MERGE_KEYS = {"containers": "name", "volumes": "name", "env": "name", "volumeMounts": "mountPath"}


def build(folder: Path) -> list[Object]:
    """The objects of a kustomization."""
    return _built(folder, [])


def objects(path: Path) -> list[Object]:
    """The objects of a file."""
    return [found for found in yaml.safe_load_all(path.read_text(encoding="utf-8")) if found is not None]


def _built(folder: Path, given: list[Object]) -> list[Object]:
    (kustomization,) = objects(folder / "kustomization.yaml")
    words = {**kustomization}
    assert (words.pop("apiVersion"), words.pop("kind")) in (
        ("kustomize.config.k8s.io/v1beta1", "Kustomization"),
        ("kustomize.config.k8s.io/v1alpha1", "Component"),
    )
    made = list(given)
    for name in words.pop("resources", []):
        path = folder / name
        made += build(path) if path.is_dir() else objects(path)
    for generator in words.pop("configMapGenerator", []):
        _generate(folder, generator, made)
    for name in words.pop("components", []):
        made = _built(folder / name, made)
    for patch in words.pop("patches", []):
        (content,) = objects(folder / patch["path"])
        assert patch.keys() == {"path", "target"}
        assert patch["target"].keys() == {"kind"}
        body = {key: value for key, value in content.items() if key not in ("apiVersion", "kind", "metadata")}
        made = [_merged(each, body) if re.fullmatch(patch["target"]["kind"], each["kind"]) else each for each in made]
    for image in words.pop("images", []):
        for container in (container for each in made for container in containers(each)):
            if container["image"].partition(":")[0] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
    if namespace := words.pop("namespace", None):
        for each in made:
            if each["kind"] != "Namespace":
                each["metadata"]["namespace"] = namespace
    assert words == {}, f"{folder}: not known here"
    return made


def containers(workload: Object) -> list[Object]:
    """The containers of a Deployment or Job; of other objects none."""
    if workload["kind"] not in ("Deployment", "Job"):
        return []
    found: list[Object] = workload["spec"]["template"]["spec"]["containers"]
    return found


def _generate(folder: Path, generator: Object, made: list[Object]) -> None:
    words = {**generator}
    name, behavior = words.pop("name"), words.pop("behavior", "create")
    data = {Path(file).name: (folder / file).read_text(encoding="utf-8") for file in words.pop("files", [])}
    lines = [*words.pop("literals", [])]
    for file in words.pop("envs", []):
        lines += (folder / file).read_text(encoding="utf-8").splitlines()
    data |= {key: value for key, _, value in (line.partition("=") for line in lines if line and line[0] != "#")}
    assert words == {}, f"{folder}: not known here"
    existing = [each for each in made if each["kind"] == "ConfigMap" and each["metadata"]["name"] == name]
    if behavior == "create":
        assert existing == []
        made.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
    else:
        assert behavior == "merge"
        existing[0]["data"] |= data


def _merged(value: Any, patch: Any, key: str = "") -> Any:
    """A strategic merge: of objects by their keys, of lists that have a merge key by it; others are replaced."""
    if isinstance(value, dict) and isinstance(patch, dict):
        return {
            k: _merged(value.get(k), patch[k], k) if k in patch else value[k] for k in [*value, *(patch.keys() - value)]
        }
    if isinstance(value, list) and key in _MERGE_KEYS:
        name = _MERGE_KEYS[key]
        of_patch = {each[name]: each for each in patch}
        of_value = {each[name]: each for each in value}
        return [_merged(of_value.get(each), of_patch.get(each, of_value.get(each))) for each in of_patch | of_value]
    return patch
