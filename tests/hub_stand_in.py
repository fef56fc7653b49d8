# SPDX-FileCopyrightText: 2026 The transformers_ov2 authors
# SPDX-License-Identifier: Apache-2.0
"""A local stand-in of the part of the hub's HTTP API that pushes and loads use. Repositories live in memory."""

import base64
import hashlib
import json
import os
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

import yaml


USER = "tester"
REPO = r"(?P<repo>[^/]+/[^/]+?)"


class HubStandIn:
    """
    Attributes:
        repos (`dict[str, list[dict[str, bytes]]]`): for each repository its commits, oldest first, each of them all
            files by path.
        errors (`list[str]`): requests that the stand-in does not know.
    """

    def __init__(self):
        self.repos: dict[str, list[dict[str, bytes]]] = {}
        self.large_files: dict[str, bytes] = {}
        self.errors: list[str] = []
        self.endpoint = ""

    @classmethod
    @contextmanager
    def serve(cls):
        hub = cls()
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield hub
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def environment(self, cache: Path) -> dict[str, str]:
        """Of a process that knows no other hub and keeps its cache in a folder."""
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        return kept | {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(cache),
            "HF_TOKEN": "stand-in",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_OFFLINE": "0",
        }

    def files(self, repo: str) -> dict[str, bytes]:
        return self.repos[repo][-1]

    def card(self, repo: str) -> tuple[dict, str]:
        """Metadata and text of a repository's card."""
        _, metadata, text = self.files(repo)["README.md"].decode().split("---\n", 2)
        return yaml.safe_load(metadata), text


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubStandIn

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._route(
            body,
            (r"/api/repos/create", self._create_repo),
            (r"/api/validate-yaml", self._validate_card),
            (rf"/api/models/{REPO}/preupload/main", self._choose_upload_modes),
            (rf"/api/models/{REPO}/commit/main", self._commit),
            (rf"/{REPO}\.git/info/lfs/objects/batch", self._large_file_urls),
        )

    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._route(body, (r"/large/(?P<oid>[0-9a-f]{64})", self._upload_large_file))

    def do_GET(self):
        self._route(
            b"",
            (rf"/api/models/{REPO}(/revision/(?P<revision>[^/]+))?", self._repo_info),
            (rf"/api/models/{REPO}/tree/(?P<revision>[^/]+)(/(?P<folder>.+))?", self._list_files),
            (rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", self._download),
        )

    do_HEAD = do_GET

    def _route(self, body: bytes, *routes):
        path = unquote(urlparse(self.path).path)
        for pattern, method in routes:
            match = re.fullmatch(pattern, path)
            if match is None:
                continue
            groups = match.groupdict()
            if (
                method != self._create_repo
                and groups.get("repo", next(iter(self.hub.repos), "")) not in self.hub.repos
            ):
                return self._error(404, "RepoNotFound")
            return method(body, **groups)
        self.hub.errors.append(f"{self.command} {self.path}")
        self._error(501, "NotImplemented")

    # Pushing

    def _create_repo(self, body):
        request = json.loads(body)
        repo = f"{request.get('organization') or USER}/{request['name']}"
        exists = repo in self.hub.repos
        self.hub.repos.setdefault(repo, [{}])
        self._json({"id": repo, "name": repo, "url": f"{self.hub.endpoint}/{repo}"}, status=409 if exists else 200)

    def _validate_card(self, body):
        metadata = yaml.safe_load(json.loads(body)["content"].split("---\n", 2)[1])
        base_models = metadata.get("base_model") or []
        errors = [
            {"message": f'"base_model" with value "{name}" is not valid. Use a model id.'}
            for name in ([base_models] if isinstance(base_models, str) else base_models)
            if not re.fullmatch(r"[\w.-]+/[\w.-]+", name)
        ]
        self._json({"errors": errors, "warnings": []}, status=400 if errors else 200)

    def _choose_upload_modes(self, body, repo):
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        self._json({"files": files})

    def _large_file_urls(self, body, repo):
        objects = [
            {
                **file,
                "actions": {"upload": {"href": f"{self.hub.endpoint}/large/{file['oid']}", "header": {}}},
            }
            for file in json.loads(body)["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects}, content_type="application/vnd.git-lfs+json")

    def _upload_large_file(self, body, oid):
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.large_files[oid] = body
        self._json({})

    def _commit(self, body, repo):
        files = dict(self.hub.files(repo))
        for line in body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.hub.large_files[value["oid"]]
            else:
                assert operation["key"] == "header", operation
        self.hub.repos[repo].append(files)
        sha = self._sha(repo)
        self._json({"commitUrl": f"{self.hub.endpoint}/{repo}/commit/{sha}", "commitOid": sha})

    # Loading

    def _sha(self, repo: str) -> str:
        return hashlib.sha1(f"{repo} {len(self.hub.repos[repo])}".encode()).hexdigest()

    def _repo_info(self, body, repo, revision):
        siblings = [{"rfilename": path} for path in self.hub.files(repo)]
        self._json({"id": repo, "sha": self._sha(repo), "private": False, "tags": [], "siblings": siblings})

    def _list_files(self, body, repo, revision, folder):
        prefix = f"{folder}/" if folder else ""
        entries = [
            {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for path, data in self.hub.files(repo).items()
            if path.startswith(prefix)
        ]
        if entries:
            self._json(entries)
        else:
            self._error(404, "EntryNotFound")

    def _download(self, body, repo, revision, path):
        headers = {"X-Repo-Commit": self._sha(repo)}
        data = self.hub.files(repo).get(path)
        if data is None:
            return self._error(404, "EntryNotFound", headers)
        headers["ETag"] = f'"{hashlib.sha256(data).hexdigest()}"'
        self._send(200, data, {"Content-Type": "application/octet-stream", **headers})

    # Answers

    def _json(self, value, status=200, content_type="application/json"):
        self._send(status, json.dumps(value).encode(), {"Content-Type": content_type})

    def _error(self, status, code, headers=()):
        self._send(status, b"", {"X-Error-Code": code, **dict(headers)})

    def _send(self, status, data, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(data)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args):
        pass
