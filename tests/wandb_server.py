"""Fake W&B server that answers the requests of the client and stores all data it receives."""

import gzip
import json
import re
import threading
from base64 import b64encode
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY, PROJECT = "someone", "noisemap"
KEY = "k" * 40


@dataclass
class StoredRun:
    """The data of a run. `about` contains the latest name, group, job type, tags and so on."""

    about: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)  # lines of streamed files
    uploaded: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None
    logged: list[str] = field(default_factory=list)  # artifacts, by name
    used: list[str] = field(default_factory=list)

    @property
    def history(self) -> list[dict]:
        return [json.loads(line) for line in self.files.get("wandb-history.jsonl", [])]

    @property
    def summary(self) -> dict:
        return json.loads(self.files.get("wandb-summary.json", ["{}"])[-1])


@dataclass
class Artifact:
    """An artifact; versions of the same name differ in their digest."""

    name: str
    kind: str
    digest: str
    id: str
    metadata: str
    committed: bool = False
    manifest: dict[str, Any] = field(default_factory=dict)


class WandbServer:
    """Server at `address` between start() and stop(); requests block while `answering` is cleared."""

    def __init__(self) -> None:
        self.runs: dict[str, StoredRun] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []  # names of GraphQL operations, and paths of other requests
        self.answering = threading.Event()
        self.port = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start at the previous port if the server was stopped."""
        handler = type("Handler", (_Handler,), {"server_state": self})
        self.http = _Http(("127.0.0.1", self.port), handler)
        self.port = self.http.server_port
        self.answering.set()
        threading.Thread(target=self.http.serve_forever, args=[0.01], daemon=True).start()

    def stop(self) -> None:
        self.answering.set()
        self.http.shutdown()
        self.http.server_close()

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        if path == "/graphql":
            request = json.loads(body)
            operation = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])
            name = operation.group(1) if operation else "?"
            self.requests.append(name)
            return {"data": getattr(self, f"_{name}", _empty)(**request.get("variables", {}))}
        self.requests.append(path)
        _, endpoint, *rest = path.split("/", 2)
        if endpoint == "files" and path.endswith("/file_stream"):
            self._stream(path.split("/")[4], json.loads(body))
        if endpoint == "storage":
            run, _, name = rest[0].partition("/")
            self.run(run).uploaded[name] = body
        if endpoint == "manifests":
            self.artifacts[rest[0]].manifest = json.loads(body)
        return {}

    def run(self, name: str) -> StoredRun:
        return self.runs.setdefault(name, StoredRun())

    def _stream(self, name: str, content: dict[str, Any]) -> None:
        run = self.run(name)
        for file, part in content.get("files", {}).items():
            lines = run.files.setdefault(file, [])
            lines[part["offset"] :] = part["content"]
        if content.get("complete"):
            run.exit_code = content["exitcode"]

    # GraphQL: each method has the name of the client's operation

    def _Viewer(self) -> dict:  # noqa: N802
        return {"viewer": {"id": "user", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}}

    _GetDefaultEntity = _Viewer

    def _RunResumeStatus(self, name: str, **_: Any) -> dict:  # noqa: N802
        run = self.runs.get(name)
        return {"model": {**_project(), "bucket": None if run is None else _bucket(name, run)}}

    def _UpsertBucket(self, name: str, config: str | None, **about: Any) -> dict:  # noqa: N802
        inserted, run = name not in self.runs, self.run(name)
        run.about |= {key: value for key, value in about.items() if value is not None}
        run.config |= {key: entry["value"] for key, entry in json.loads(config or "{}").items()}
        return {"upsertBucket": {"bucket": {**_bucket(name, run), "project": _project()}, "inserted": inserted}}

    def _CreateRunFiles(self, run: str, files: list[str], **_: Any) -> dict:  # noqa: N802
        urls = [{"name": name, "uploadUrl": f"{self.address}/storage/{run}/{name}"} for name in files]
        return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": urls}}

    def _ArtifactType(self, **_: Any) -> dict:  # noqa: N802
        return {"project": {"artifact": None}}

    def _CreateArtifact(self, input: dict[str, Any]) -> dict:  # noqa: N802
        name, digest = input["artifactCollectionName"], input["digest"]
        existing = [value for value in self.artifacts.values() if (value.name, value.digest) == (name, digest)]
        artifact = existing[0] if existing else self._new_artifact(name, digest, input)
        run_name = input["runName"]  # empty if a run only uses the artifact
        if run_name and artifact.name not in self.run(run_name).logged:
            self.run(run_name).logged.append(artifact.name)
        state = "COMMITTED" if artifact.committed else "PENDING"
        sequence = {"latestArtifact": {"id": artifact.id} if artifact.committed else None}
        return {"createArtifact": {"artifact": {"id": artifact.id, "state": state, "artifactSequence": sequence}}}

    def _new_artifact(self, name: str, digest: str, about: dict[str, Any]) -> Artifact:
        artifact_id = f"artifact-{len(self.artifacts)}"
        artifact = Artifact(name, about["artifactTypeName"], digest, artifact_id, about.get("metadata") or "{}")
        self.artifacts[artifact_id] = artifact
        return artifact

    def _CreateArtifactManifest(self, artifactID: str, **_: Any) -> dict:  # noqa: N802
        return {"createArtifactManifest": self._manifest(artifactID)}

    def _UpdateArtifactManifest(self, artifactManifestID: str, **_: Any) -> dict:  # noqa: N802
        return {"updateArtifactManifest": self._manifest(artifactManifestID)}

    def _manifest(self, artifact_id: str) -> dict:
        file = {"id": artifact_id, "uploadUrl": f"{self.address}/manifests/{artifact_id}", "uploadHeaders": []}
        return {"artifactManifest": {"id": artifact_id, "file": file}}

    def _CreateArtifactFiles(self, input: dict[str, Any]) -> dict:  # noqa: N802
        files = [
            {
                "storagePath": None,
                "uploadUrl": f"{self.address}/entries/{entry['artifactID']}/{entry['name']}",
                "uploadHeaders": [],
                "uploadMultipartUrls": None,
                "artifact": {"id": entry["artifactID"]},
            }
            for entry in input["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": [{"node": file} for file in files]}}}

    def _CommitArtifact(self, artifactID: str) -> dict:  # noqa: N802
        self.artifacts[artifactID].committed = True
        return {"commitArtifact": {"artifact": {"id": artifactID, "digest": self.artifacts[artifactID].digest}}}

    def _UseArtifact(self, input: dict[str, Any]) -> dict:  # noqa: N802
        artifact = self.artifacts[input["artifactID"]]
        if artifact.name not in self.run(input["runName"]).used:
            self.run(input["runName"]).used.append(artifact.name)
        return {"useArtifact": {"artifact": {"id": artifact.id}}}

    def _ArtifactByID(self, id: str, **_: Any) -> dict:  # noqa: N802
        return {"artifact": _describe(self.artifacts[id])}

    def _UpsertView2(self, **view: Any) -> dict:  # noqa: N802
        view["id"] = view.get("id") or f"view-{len(self.views)}"
        inserted = view["id"] not in self.views
        self.views[view["id"]] = view
        return {"upsertView": {"view": {"id": view["id"], "name": view["name"]}, "inserted": inserted}}

    def _View(self, viewName: str, **_: Any) -> dict:  # noqa: N802
        nodes = [{"node": view} for view in self.views.values() if view["name"] == viewName]
        return {"project": {"allViews": {"edges": nodes}}}


def _empty(**_: Any) -> dict:
    return {}


def _project() -> dict:
    return {"id": "project", "name": PROJECT, "entity": {"id": "entity", "name": ENTITY}}


def _describe(artifact: Artifact) -> dict:
    return {
        "id": artifact.id,
        "artifactSequence": {"name": artifact.name, "project": {**_project(), "internalId": "1"}},
        "versionIndex": 0,
        "artifactType": {"name": artifact.kind},
        "description": None,
        "metadata": artifact.metadata,
        "ttlDurationSeconds": 0,
        "ttlIsInherited": False,
        "tags": [],
        "historyStep": None,
        "state": "COMMITTED",
        "size": 0,
        "digest": artifact.digest,
        "commitHash": None,
        "fileCount": 0,
        "createdAt": "2026-01-01T00:00:00",
        "updatedAt": None,
        "aliases": [],
    }


def _bucket(name: str, run: StoredRun) -> dict:
    streamed = {kind: run.files.get(f"wandb-{kind}.jsonl", []) for kind in ("history", "events")}
    return {
        "id": name,
        "name": name,
        "displayName": run.about.get("displayName", name),
        "config": json.dumps({key: {"value": value} for key, value in run.config.items()}),
        "summaryMetrics": json.dumps(run.summary),
        "logLineCount": 0,
        "historyLineCount": len(streamed["history"]),
        "eventsLineCount": len(streamed["events"]),
        "historyTail": json.dumps(streamed["history"][-1:]),
        "eventsTail": json.dumps(streamed["events"][-1:]),
        "tags": run.about.get("tags") or [],
        "wandbConfig": json.dumps(run.config.get("_wandb", {})),
    }


class _Http(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """Ignore clients that close the connection."""


class _Handler(BaseHTTPRequestHandler):
    server_state: WandbServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.server_state.answering.wait()
        is_api = self.path.startswith(("/graphql", "/files"))  # upload URLs need no key
        if is_api and self.headers.get("authorization") != f"Basic {b64encode(f'api:{KEY}'.encode()).decode()}":
            self.send_error(401)
            return
        answer = json.dumps(self.server_state.answer(self.path, body)).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_PUT = do_GET = do_POST  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass
