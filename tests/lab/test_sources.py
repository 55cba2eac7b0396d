"""llama.cpp from a git server: tags, commits, what does not exist, what does not compile, and the way back."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rigwright import catalogue
from rigwright.plan.engines.llamacpp.archives import Archive
from rigwright.plan.engines.llamacpp.capabilities import USUAL_KV_PAIRS
from rigwright.roles.llamacpp.archive import source_tree

from ..roles.releases import releases
from .conftest import binaries_of

pytestmark = pytest.mark.lab


@dataclass(frozen=True)
class Repository:
    """A real git repository with llama.cpp's tree, served by a real git server to the rigs."""

    path: str
    url: str

    def git(self, *arguments: str) -> str:
        """git in the repository."""
        # The same commits in every run: the compiler's cache then knows what they compile to.
        who = {"NAME": "test", "EMAIL": "test@example.org", "DATE": "2026-01-01T00:00:00Z"}
        identity = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()}
        command = ["git", "-C", self.path, *arguments]
        return subprocess.run(
            command, env=os.environ | identity, capture_output=True, text=True, check=True
        ).stdout.strip()

    def commit(self, name: str, text: str, tag: str) -> str:
        """Append to a file, commit, tag; the commit."""
        with (Path(self.path) / name).open("a") as file:
            file.write(text)
        self.git("commit", "-qam", tag)
        self.git("tag", "-a", tag, "-m", tag)
        return self.git("rev-parse", "HEAD")


def _default_code(cmake: str, cuda: str) -> set[str]:
    """The architectures that ggml-cuda/CMakeLists.txt compiles for by default, `86-real`, of a release."""
    start = cmake.index("list(APPEND CMAKE_CUDA_ARCHITECTURES 50-virtual")
    block = cmake[cmake.rindex("if (CUDAToolkit_VERSION VERSION_LESS", 0, start) : cmake.index("enable_language(CUDA)")]
    found: set[str] = set()
    holds = [True]
    for line in (line.strip() for line in block.splitlines()):
        if asked := re.match(r'if \(CUDAToolkit_VERSION VERSION_(LESS|GREATER_EQUAL) "([\d.]+)"\)', line):
            mine, theirs = (tuple(map(int, text.split("."))) for text in (cuda, asked[2]))
            holds.append(mine < theirs if asked[1] == "LESS" else mine >= theirs)
        elif line.startswith("endif") and holds[1:]:
            holds.pop()
        elif (added := re.match(r"list\(APPEND CMAKE_CUDA_ARCHITECTURES (.*)\)", line)) and all(holds):
            found |= {*added[1].split()}
    return found


def test_binaries_of_the_catalogue_are_what_the_pinned_source_makes():
    """Who raises the version sees whether upstream still makes these archives, with that code and no NCCL."""
    known = catalogue.load("engines")["llamacpp"]
    with tarfile.open(source_tree(Archive(**known["archive"]))) as tree:

        def text(name):
            return tree.extractfile(name).read().decode()

        made, cmake = text(".github/workflows/release.yml"), text("ggml/src/ggml-cuda/CMakeLists.txt")
        options = text("ggml/CMakeLists.txt")
    job = made[made.index("\n  ubuntu-cuda:") : made.index("\n  android-arm64:")]
    labels = re.findall(r"build: '(\w+)'\s+os: ubuntu-24.04\S*\s+cuda: '[\d.]+'\s+label: '([\d.]+)'", job)
    for_gpus = [row for row in known["binaries"]["archives"] if "cuda" in row]
    assert {f"ubuntu-cuda-{label}-{build}" for build, label in labels} == {row["name"] for row in for_gpus}
    assert "-devel-ubuntu24.04" in job and "-DGGML_CUDA_NCCL=OFF" in job and "CMAKE_CUDA_ARCHITECTURES=" not in job
    called = "${{ needs.check-release.outputs.tag_name }}-bin-ubuntu-cuda-${{ matrix.label }}-${{ matrix.build }}"
    assert f"tar -czvf llama-{called}" in job and f"tar -czvf cudart-llama-{called}" in job
    for row in for_gpus:
        wanted = {f"{one}-real" for one in row["code"]} | {f"{one}-virtual" for one in row["ptx"]}
        assert _default_code(cmake, row["cuda"]) == wanted, row["name"]
    pairs = re.search(r'GGML_CUDA_FA_QUANTS "([^"]+)" CACHE', options)
    assert {tuple(one.split("-")) for one in pairs[1].split(";")} == USUAL_KV_PAIRS


@pytest.fixture(scope="module")
def repository(workshop, serving, tmp_path_factory) -> Iterator[Repository]:
    """llama.cpp's tree as the first commit, tagged v1."""
    base = tmp_path_factory.mktemp("git")
    tree = base / "llama.cpp"
    with tarfile.open(source_tree(Archive(**catalogue.load("engines")["llamacpp"]["archive"]))) as archive:
        archive.extractall(tree, filter="tar")
    address = workshop.host_address
    repository = Repository(str(tree), f"git://{address}:9419/llama.cpp")
    repository.git("init", "-q", "-b", "master")
    repository.git("add", "-A", "-f")
    repository.git("commit", "-qm", "first")
    repository.git("tag", "v1")
    command = [
        "git",
        "daemon",
        "--reuseaddr",
        "--export-all",
        f"--base-path={base}",
        f"--listen={address}",
        "--port=9419",
    ]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    assert server.poll() is None
    yield repository
    server.terminate()
    server.wait()


def from_git(workshop, repository, ref, **changes):
    return workshop.spec(llamacpp={"git": repository.url, "ref": ref}, **changes)


def build_info(workshop, rig):
    return workshop.on(rig, 'curl -s http://127.0.0.1:8080/props | grep -o \'"build_info":"[^"]*\'')


def test_tag_is_built_switched_to_and_rolled_back(workshop, serving, repository):
    """A changed ref: a new release beside the old one, one switch; the way back takes seconds and no build."""
    outcome = workshop.deploy(from_git(workshop, repository, "v1"), serving)
    assert outcome.code == 0, outcome.output
    assert outcome.changed == {"Find the commit of llama.cpp", "Build llama.cpp", "Serve demo"}
    first = repository.git("rev-parse", "v1^{commit}")
    assert first[:9] in build_info(workshop, serving)
    second = repository.commit("AUTHORS", "one more\n", "v2")
    outcome = workshop.deploy(from_git(workshop, repository, "v2"), serving)
    assert outcome.code == 0, outcome.output
    assert second[:9] in build_info(workshop, serving)
    path = workshop.inventory(from_git(workshop, repository, "v2"), serving)
    assert workshop.rigwright("verify", str(path)).code == 0
    back = workshop.rigwright("rollback", str(path))
    assert back.code == 0, back.output
    assert back.seconds < 20
    assert first[:9] in build_info(workshop, serving)
    again = workshop.deploy(from_git(workshop, repository, "v2"), serving)
    assert again.changed == {"Serve demo"}
    assert second[:9] in build_info(workshop, serving)
    assert workshop.deploy(from_git(workshop, repository, "v2"), serving).changed == set()


def test_old_releases_go_but_the_running_and_the_earlier_one_stay(workshop, serving, repository):
    """N-1 is kept; disks do not fill with builds."""
    releases = workshop.on(serving, "ls /opt/rigwright/llamacpp/releases").split()
    used = workshop.on(serving, "readlink /opt/rigwright/services/demo/current /opt/rigwright/services/demo/previous")
    assert sorted(releases) == sorted(line.rsplit("/", 1)[-1] for line in used.splitlines())


def test_commit_is_built_without_asking_the_server_for_names(workshop, serving, repository):
    """A full commit is its own identity: it is the release that the tag gave."""
    commit = repository.git("rev-parse", "v2^{commit}")
    process = workshop.on(serving, "systemctl show -P MainPID rigwright-demo")
    outcome = workshop.deploy(from_git(workshop, repository, commit), serving)
    # The record on the rig now names the commit; what runs is the same.
    assert outcome.changed == {"Serve demo"}
    assert workshop.on(serving, "systemctl show -P MainPID rigwright-demo") == process
    assert workshop.deploy(from_git(workshop, repository, commit), serving).changed == set()


def test_latest_is_looked_up_once_and_kept(workshop, serving, repository):
    """The newest release is a commit from then on, also where a newer one comes; a lock takes it to other rigs."""
    for tag, commit in (("b9", "v1"), ("b10", "v2")):
        repository.git("tag", "--force", tag, f"{commit}^{{commit}}")
    latest, second = from_git(workshop, repository, "latest"), repository.git("rev-parse", "v2^{commit}")
    outcome = workshop.deploy(latest, serving)
    assert outcome.code == 0, outcome.output
    assert f"latest, b10, is commit {second}" in outcome.output
    # What runs is that commit already.
    assert outcome.changed == {"Find the commit of llama.cpp"}
    repository.git("tag", "--force", "b11", "v1")
    assert workshop.deploy(latest, serving).changed == set()
    path = workshop.inventory(latest, serving)
    assert workshop.rigwright("plan", str(path), "--write").code == 0
    workshop.on(serving, "rm /var/lib/rigwright/refs/*")
    assert workshop.deploy(latest, serving).changed == set()
    assert workshop.rigwright("verify", str(path)).code == 0
    path.with_suffix(".lock.yml").unlink()
    assert second[:9] in build_info(workshop, serving)


@pytest.fixture
def upstream(workshop, serving, repository, monkeypatch):
    """Deploys for which that repository is upstream's, and where upstream's binaries fit."""
    monkeypatch.setenv("UPSTREAM_GIT", repository.url)
    repository.git("tag", "--force", "b11434", "v1^{commit}")

    def deploy(**llamacpp):
        return workshop.deploy(workshop.spec(llamacpp=llamacpp), serving, deploy="../tests/lab/upstream_deploy")

    return deploy


def test_what_upstream_does_not_give_is_built_and_stays(workshop, serving, repository, upstream):
    """`source: auto` says why with the plan; then it stays what was built, whoever answers."""
    repository.git("commit", "-q", "--allow-empty", "-m", "one that nobody has built")
    repository.git("tag", "--force", "b11434", "HEAD")
    silence = "http://127.0.0.1:9/repos/ggml-org/llama.cpp"
    outcome = upstream(releases=silence)
    assert outcome.code == 0, outcome.output
    said = [line for line in outcome.lines if line.startswith("upstream's binaries cannot be had: ")]
    assert len(said) == 1 and said[0].endswith("; llama.cpp is built instead"), outcome.output
    assert "building release" in outcome.output
    assert repository.git("rev-parse", "HEAD")[:9] in build_info(workshop, serving)
    assert upstream(releases=silence).changed == set()
    name = "llama-b11434-bin-ubuntu-x64.tar.gz"
    with releases({name: binaries_of(workshop, serving).read_bytes()}) as api:
        assert upstream(releases=api.address).changed == set() and api.asked == []
        outcome = upstream(releases=silence, source="prebuilt")
        assert (
            outcome.code != 0
            and outcome.changed == set()
            and "cannot be deployed: rig.llamacpp.source: " in outcome.output
        )
        assert upstream(releases=silence).changed == set()


def test_newest_binaries_of_upstream_are_taken_and_kept(workshop, serving, upstream):
    """`ref: latest`: what its host calls the newest release; a later one changes nothing."""
    content = binaries_of(workshop, serving).read_bytes()
    with releases({"llama-b11500-bin-ubuntu-x64.tar.gz": content}) as api:
        api.name = "b11500"
        outcome = upstream(releases=api.address, ref="latest")
        assert (
            outcome.code == 0 and "release" in outcome.output and "received, built by somebody else" in outcome.output
        )
        assert upstream(releases=api.address, ref="latest").changed == set()
        api.name, asked = "b11501", len(api.asked)
        assert upstream(releases=api.address, ref="latest").changed == set() and len(api.asked) == asked
        path = workshop.inventory(workshop.spec(llamacpp={"releases": api.address, "ref": "latest"}), serving)
        checked = workshop.rigwright("verify", str(path))
        assert checked.code == 0, checked.output


@pytest.mark.parametrize(
    ("ref", "line"),
    [
        ("v99", "has no tag v99; name a tag or a full commit"),
        ("side", "side is a branch, and branches move; name a tag or a commit (today it is"),
        ("master", "rig.llamacpp.ref: master is a branch, and branches move; name a tag or a full commit"),
        ("0" * 40, "fatal: remote error: upload-pack: not our ref 000000"),
    ],
)
def test_ref_that_cannot_be_built_leaves_all_as_it_was(workshop, serving, repository, unharmed, ref, line):
    """The message names the ref; what serves goes on serving."""
    repository.git("branch", "--force", "side")
    outcome = workshop.deploy(from_git(workshop, repository, ref), serving)
    assert outcome.code == 1
    assert any(line in said for said in outcome.lines), outcome.output
    assert "Traceback" not in outcome.output


def test_git_server_that_does_not_answer(workshop, serving, repository, unharmed):
    """The address is named."""
    rig = workshop.spec(llamacpp={"git": repository.url.replace("9419", "9420"), "ref": "v1"})
    outcome = workshop.deploy(rig, serving)
    assert outcome.code == 1
    assert any("cannot be read" in line and "check rig.llamacpp.git" in line for line in outcome.lines), outcome.output


def test_build_that_does_not_compile_shows_the_error_and_keeps_the_old_release(workshop, serving, repository, unharmed):
    """The last error lines are shown; the old release serves; the next good ref builds."""
    repository.commit("tools/server/server.cpp", "\nthis is no C++;\n", "v3-broken")
    outcome = workshop.deploy(from_git(workshop, repository, "v3-broken"), serving)
    assert outcome.code == 1
    assert any("error:" in line and "server.cpp" in line for line in outcome.lines), outcome.output
    assert any(
        "what runs goes on running; the whole log is /var/lib/rigwright/build/" in line for line in outcome.lines
    )
