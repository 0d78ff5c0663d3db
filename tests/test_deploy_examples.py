"""What examples/deploy hands out fits the server: its options, times, paths and metrics."""

import argparse
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from bertrt.server.cli import add_options, parse_models, settings_from
from bertrt.server.metrics import Metrics, ModelMetrics
from bertrt.server.protocols import routes
from bertrt.server.settings import Settings, environment_name, flag_name
from prometheus_client.parser import text_string_to_metric_families

_ROOT = Path(__file__).resolve().parents[1]
_DEPLOY = _ROOT / "examples" / "deploy"
# A .env is somebody's own.
_FILES = sorted(file for file in _DEPLOY.rglob("*") if file.is_file() and file.name != ".env")
_YAML = [file for file in _FILES if file.suffix in (".yml", ".yaml")]
_OPEN = {route.path for route in routes("vllm") if route.open and route.method == "GET"}


@dataclass(frozen=True, slots=True)
class Start:
    """How an example starts the server: the words after `bertrt serve`, and the environment."""

    words: list[str]
    environment: dict[str, str]

    def settings(self) -> Settings:
        """What the server would make of them; fails where it would refuse them."""
        parser = argparse.ArgumentParser()
        add_options(parser)
        arguments = parser.parse_args(self.words)
        assert parse_models(arguments.models)
        return settings_from(arguments, self.environment)


def _name(file: Path) -> str:
    return str(file.relative_to(_DEPLOY))


def _text(name: str) -> str:
    return (_DEPLOY / name).read_text(encoding="utf-8")


def _yaml(name: str) -> Any:
    return yaml.safe_load(_text(name))


def _dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile: the first word, the rest."""
    lines = [line for line in _text("Dockerfile").splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line]


def _final_stage() -> list[tuple[str, str]]:
    instructions = _dockerfile()
    last = max(at for at, (word, _) in enumerate(instructions) if word == "FROM")
    return instructions[last:]


def _of_image(instruction: str) -> str:
    """The rest of the image's one such instruction."""
    (found,) = [rest for word, rest in _final_stage() if word == instruction]
    return found


def _image_environment() -> dict[str, str]:
    words = [shlex.split(rest) for word, rest in _final_stage() if word == "ENV"]
    return dict(word.split("=", maxsplit=1) for line in words for word in line)


def _compose(service: str = "bertrt") -> dict[str, Any]:
    found: dict[str, Any] = _yaml("docker-compose.yml")["services"][service]
    return found


def _kubernetes(kind: str) -> dict[str, Any]:
    """The manifest's one object of a kind."""
    documents = yaml.safe_load_all(_text("kubernetes.yaml"))
    (found,) = [document for document in documents if document["kind"] == kind]
    checked: dict[str, Any] = found
    return checked


def _pod() -> dict[str, Any]:
    pod: dict[str, Any] = _kubernetes("Deployment")["spec"]["template"]
    return pod


def _container() -> dict[str, Any]:
    (container,) = _pod()["spec"]["containers"]
    checked: dict[str, Any] = container
    return checked


def _starts() -> dict[str, Start]:
    image = _image_environment()
    in_pod = {variable["name"]: variable.get("value", "secret") for variable in _container()["env"]}
    return {
        "image": Start(json.loads(_of_image("CMD")), image),
        "compose": Start(_compose()["command"], {**image, **_compose()["environment"]}),
        "kubernetes": Start(_container()["args"], {**image, **in_pod}),
    }


def _dashboard() -> dict[str, Any]:
    dashboard: dict[str, Any] = json.loads(_text("grafana/bertrt.json"))
    return dashboard


def _expressions() -> Iterator[tuple[str, str]]:
    """Each query of the dashboard: its panel's title, the PromQL."""
    for panel in _dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    for variable in _dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            (asked,) = re.findall(r"^label_values\((.*)\)$", variable["query"]["query"])
            metric, label = asked.split(", ")
            yield f"variable {variable['name']}", f"sum by ({label}) ({metric})"


_CLAUSE = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"{([^}]*)}")


def _metric_names(expression: str) -> set[str]:
    """The metrics of a PromQL expression: words that are no function, keyword, label or value."""
    for pattern in (_SELECTOR, re.compile(r"\[[^\]]*\]"), _CLAUSE):
        expression = pattern.sub(" ", expression)
    words = re.findall(r"\b[a-zA-Z_]\w*\b(?!\s*\()", expression)
    return set(words) - {"and", "or", "unless", "bool", "sum", "max", "min", "avg", "count"}


def _label_names(expression: str) -> set[str]:
    """The labels that a PromQL expression groups by, joins on or selects."""
    grouped = [name for clause in _CLAUSE.findall(expression) for name in clause.split(",")]
    selected = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", " ".join(_SELECTOR.findall(expression)))
    return {name.strip() for name in grouped} | set(selected)


@pytest.fixture(scope="module")
def samples() -> dict[str, set[str]]:
    """What /metrics shows of a server that has done everything: the labels of each metric."""
    metrics = Metrics()
    metrics.answered("/predict", 200)
    metrics.rejected("OverloadedError")
    metrics.loaded("model", "int8", "CPUExecutionProvider", "0" * 64, lambda: (1, 8))
    model = ModelMetrics(metrics, "model")
    model.batch(texts=1, tokens=8)
    model.classified([8], 1, {"tokenize": 0.1, "queue": 0.1, "inference": 0.1})
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


@pytest.mark.parametrize("file", _YAML, ids=_name)
def test_yaml_parses(file: Path) -> None:
    documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    assert documents and all(isinstance(document, dict) for document in documents)


@pytest.mark.parametrize("example", ["image", "compose", "kubernetes"])
def test_the_server_takes_what_the_example_sets(example: str) -> None:
    """Every flag and value; a container must listen at all addresses."""
    assert _starts()[example].settings().host == "0.0.0.0"


@pytest.mark.parametrize("file", _FILES, ids=_name)
def test_named_variables_exist(file: Path) -> None:
    """In comments and pages too: the server passes over a variable that it does not know."""
    named = set(re.findall(r"\bBERTRT_[A-Z_]+", file.read_text(encoding="utf-8")))
    assert named <= {environment_name(option.name) for option in fields(Settings)}


def test_flags_in_prose_exist() -> None:
    page = re.sub(r"^```.*?^```$", "", _text("README.md"), flags=re.MULTILINE | re.DOTALL)
    settings = {flag_name(option.name) for option in fields(Settings)}
    of_others = {"--help", "--stop-timeout", "--force-recreate", "--detach"}
    assert set(re.findall(r"--[a-z][a-z-]+", page)) <= settings | of_others


@pytest.mark.parametrize("example", ["image", "compose", "kubernetes"])
def test_a_server_that_drains_is_not_killed(example: str) -> None:
    (stop_timeout,) = re.findall(r"--stop-timeout (\d+)", _text("README.md"))
    grace = {
        "image": stop_timeout,
        "compose": _compose()["stop_grace_period"].removesuffix("s"),
        "kubernetes": _pod()["spec"]["terminationGracePeriodSeconds"],
    }
    settings = _starts()[example].settings()
    assert float(grace[example]) > settings.drain_delay + settings.drain_timeout


def test_probes_are_open_paths() -> None:
    (health_check,) = re.findall(r"'(/[^']+)'", _of_image("HEALTHCHECK"))
    annotations = _pod()["metadata"]["annotations"]
    probes = {
        name: _container()[name]["httpGet"]["path"]
        for name in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    assert {health_check, annotations["prometheus.io/path"], *probes.values()} <= _OPEN
    for job in _yaml("prometheus.yml")["scrape_configs"]:
        assert job.get("metrics_path", "/metrics") in _OPEN
    # A server that loads or drains must get no requests, and must not be started again for it.
    assert probes["startupProbe"] == probes["readinessProbe"] == health_check == "/health"
    assert probes["livenessProbe"] == "/v2/health/live"


def test_the_image_checks_the_port_it_listens_at() -> None:
    check = _of_image("HEALTHCHECK")
    (command,) = re.findall(r"CMD (\[.*\])$", check)
    python, option, program = json.loads(command)
    assert (python, option) == ("python", "-c")
    compile(program, "healthcheck", "exec")
    assert "os.environ['BERTRT_PORT']" in program
    assert _of_image("EXPOSE") == _image_environment()["BERTRT_PORT"]


def test_ports_are_the_servers() -> None:
    starts = {name: start.settings().port for name, start in _starts().items()}
    (published,) = _compose()["ports"]
    assert published.endswith(f":{starts['compose']}")
    (target,) = _yaml("prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target == f"bertrt:{starts['compose']}"
    (port,) = _container()["ports"]
    assert port["containerPort"] == starts["kubernetes"]
    assert _pod()["metadata"]["annotations"]["prometheus.io/port"] == str(starts["kubernetes"])
    (service_port,) = _kubernetes("Service")["spec"]["ports"]
    assert service_port["targetPort"] == port["name"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert _container()[probe]["httpGet"]["port"] == port["name"]


def test_the_image_installs_the_serving_extras_alone() -> None:
    """And those hold nothing of what only the exporter needs."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    (installed,) = re.findall(r"\[([a-z,]+)\]\"", _text("Dockerfile"))
    assert set(installed.split(",")) == {"cpu", "serve"} <= extras.keys()
    required = [*project["dependencies"], *extras["cpu"], *extras["serve"]]
    packages = {re.split(r"[^\w-]", line, maxsplit=1)[0] for line in required}
    assert packages.isdisjoint({"torch", "transformers", "onnx", "onnx-ir", "onnxscript"})


def test_the_image_is_built_from_what_is_there() -> None:
    """All that the wheel takes is copied, and the ignore file lets it through."""
    sources = [
        source
        for word, rest in _dockerfile()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    build = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    for package in build["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        assert any(Path(package).is_relative_to(source) for source in sources)
    ignored = _text("Dockerfile.dockerignore").splitlines()
    assert "*" in ignored
    for source in sources:
        assert (_ROOT / source).exists()
        assert f"!{source}" in ignored


def test_the_image_runs_as_the_user_that_kubernetes_names() -> None:
    user, group = _of_image("USER").split(":")
    context = _pod()["spec"]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group)) != (0, 0)
    assert context["runAsNonRoot"] is True


def test_containers_get_no_rights() -> None:
    compose, pod = _compose(), _container()["securityContext"]
    assert compose["read_only"] is pod["readOnlyRootFilesystem"] is True
    assert compose["cap_drop"] == pod["capabilities"]["drop"] == ["ALL"]
    assert compose["security_opt"] == ["no-new-privileges:true"]
    assert pod["allowPrivilegeEscalation"] is False


def test_models_are_mounted_read_only_where_they_are_served_from() -> None:
    (mount,) = _compose()["volumes"]
    assert mount["read_only"] is True
    (pod_mount,) = _container()["volumeMounts"]
    (volume,) = _pod()["spec"]["volumes"]
    claim = volume["persistentVolumeClaim"]
    assert pod_mount["readOnly"] is claim["readOnly"] is True
    assert pod_mount["name"] == volume["name"]
    assert claim["claimName"] == _kubernetes("PersistentVolumeClaim")["metadata"]["name"]
    folders = {mount["target"], pod_mount["mountPath"]}
    for start in _starts().values():
        assert {word.partition("=")[2] or word for word in start.words} == folders


def test_pods_get_whole_cpus() -> None:
    resources = _container()["resources"]
    assert resources["requests"]["cpu"] == resources["limits"]["cpu"]
    assert int(resources["limits"]["cpu"]) >= 1
    assert int(_compose()["deploy"]["resources"]["limits"]["cpus"]) >= 1


def test_kubernetes_does_not_set_the_port() -> None:
    """For a Service called bertrt it would put BERTRT_PORT=tcp://... into every pod."""
    assert _kubernetes("Service")["metadata"]["name"] == "bertrt"
    assert _pod()["spec"]["enableServiceLinks"] is False


def test_kubernetes_objects_point_at_each_other() -> None:
    labels = _pod()["metadata"]["labels"].items()
    deployment = _kubernetes("Deployment")
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels
    assert _kubernetes("Service")["spec"]["selector"].items() <= labels
    budget = _kubernetes("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    assert budget.items() <= labels
    target = _kubernetes("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert target["kind"] == "Deployment" and target["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]  # each `kubectl apply` would undo the autoscaler


def test_keys_come_from_outside() -> None:
    (variable,) = [each for each in _container()["env"] if each["name"] == "BERTRT_API_KEY"]
    secret = variable["valueFrom"]["secretKeyRef"]
    asked = f"create secret generic {secret['name']} --from-literal={secret['key']}="
    assert asked in _text("README.md")
    given = re.findall(r"^([A-Z_]+)=", _text(".env.example"), re.MULTILINE)
    wanted = re.findall(r"\${([A-Z_]+)", _text("docker-compose.yml"))
    assert set(given) == set(wanted)
    assert _compose()["environment"]["BERTRT_API_KEY"].startswith("${BERTRT_API_KEY:?")
    assert ".env" in _text(".gitignore").splitlines()


def test_compose_mounts_what_is_there() -> None:
    for service in ("prometheus", "grafana"):
        sources = [volume.split(":")[0] for volume in _compose(service)["volumes"]]
        files = [source for source in sources if source.startswith("./")]
        assert files
        assert all((_DEPLOY / source).exists() for source in files)


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    (source,) = _yaml("grafana/provisioning/datasources/prometheus.yml")["datasources"]
    services = _yaml("docker-compose.yml")["services"]
    host = re.fullmatch(r"http://(\w+):9090", source["url"])
    assert host is not None and host[1] in services
    interval = _yaml("prometheus.yml")["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval
    (provider,) = _yaml("grafana/provisioning/dashboards/bertrt.yml")["providers"]
    mounted = [volume.split(":")[1] for volume in _compose("grafana")["volumes"]]
    home = _compose("grafana")["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home in mounted
    assert Path(home).parent == Path(provider["options"]["path"])


def test_the_dashboard_asks_for_metrics_that_exist(samples: dict[str, set[str]]) -> None:
    asked = {(title, name) for title, query in _expressions() for name in _metric_names(query)}
    assert asked
    assert {(title, name) for title, name in asked if name not in samples} == set()


def test_the_dashboard_groups_by_labels_that_exist(samples: dict[str, set[str]]) -> None:
    of_prometheus = {"job", "instance"}
    for title, query in _expressions():
        known = set().union(*(samples[name] for name in _metric_names(query)))
        assert _label_names(query) <= known | of_prometheus, title


def test_the_dashboard_shows_every_metric(samples: dict[str, set[str]]) -> None:
    """Of a histogram its buckets are enough."""
    shown = {name for _, query in _expressions() for name in _metric_names(query)}
    parts = ("_created", "_sum", "_count")
    counted = {name for name in samples if name.startswith("bertrt_") and not name.endswith(parts)}
    assert counted <= shown


def test_legends_name_labels_of_the_result() -> None:
    for panel in _dashboard()["panels"]:
        for target in panel.get("targets", []):
            grouped = re.search(r"by \(([^)]*)\)", target["expr"])
            labels = set(grouped[1].split(", ")) if grouped else {"instance", "job"}
            assert set(re.findall(r"{{(\w+)}}", target.get("legendFormat", ""))) <= labels


def test_panels_are_distinct_and_do_not_overlap() -> None:
    panels = _dashboard()["panels"]
    numbers = [panel["id"] for panel in panels]
    assert len(numbers) == len(set(numbers))
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert cells.isdisjoint(taken), panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells


def test_panels_follow_the_dashboards_variables() -> None:
    variables = {variable["name"]: variable for variable in _dashboard()["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    asked: set[str] = set()
    for panel in _dashboard()["panels"]:
        for target in panel.get("targets", []):
            assert panel["datasource"] == target["datasource"]
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            named = set(re.findall(r"\$(\w+)", target["expr"]))
            assert named <= {*variables, "__rate_interval"}
            asked |= named
    assert "model" in asked
    assert variables["model"]["datasource"]["uid"] == "${datasource}"


def test_every_rate_is_over_grafanas_interval() -> None:
    """A fixed range would be shorter than the scrape interval of some Prometheus."""
    rates = [query for _, query in _expressions() if "rate(" in query or "increase(" in query]
    assert rates
    for query in rates:
        ranges = re.findall(r"\[([^\]]*)\]", query)
        assert len(ranges) == len(re.findall(r"\b(?:rate|increase)\(", query))
        assert set(ranges) == {"$__rate_interval"}


def test_the_page_names_every_file() -> None:
    """Each by its own name or by its folder's, and nothing that is not there."""
    named = set(re.findall(r"`([\w./-]+)`", _text("README.md").split("\n\n")[1]))
    for file in _FILES:
        if file.name not in ("README.md", ".gitignore"):
            path = Path(_name(file))
            assert named & {str(path), *map(str, path.parents)}, path
    assert named and all((_DEPLOY / name).exists() for name in named)
