"""llama.cpp out of Debian's packages: unpacked beside what is built here, switched to and back, and all taken away."""

from __future__ import annotations

import pytest

from .conftest import wait_healthy

pytestmark = pytest.mark.lab

# A rig of Debian 13 that has the next release among its sources, as its owner wants it, with the C library that
# llama.cpp is built for there. The mirror's suite may be older than it says. The owner has another version of ggml.
SUITES = """set -e
export DEBIAN_FRONTEND=noninteractive
cd /etc/apt
for suite in forky trixie-backports; do
  sed -n "/^deb .* trixie /{s/^deb /deb [check-valid-until=no] /;s/ trixie / $suite /p;q}" sources.list
done >sources.list.d/next.list
printf 'Package: *\\nPin: release n=forky\\nPin-Priority: 1\\n' >preferences.d/next
apt-get -qq update
apt-get -qq -y -t forky --no-install-recommends install libc6 libstdc++6 >/dev/null 2>&1
apt-get -qq -y --no-install-recommends install libggml0/trixie-backports >/dev/null 2>&1
"""
# Kernels for CUDA are in unstable's contrib, for the ggml of that very version; libcuda.so.1 is the owner's to have.
KERNELS = """set -e
export DEBIAN_FRONTEND=noninteractive
cd /etc/apt
sed '/forky/!d;s/ forky / sid /' sources.list.d/next.list >sources.list.d/sid.list
for pin in '* 1' 'src:ggml 999' 'src:ggml-cuda 999'; do
  printf 'Package: %s\\nPin: release n=sid\\nPin-Priority: %s\\n\\n' "${pin% *}" "${pin#* }"
done >preferences.d/sid
apt-get -qq update
apt-get -qq -y --no-install-recommends install libcuda1 >/dev/null 2>&1
"""
RELEASE = "/opt/rigwright/services/demo/current"
# Whose libraries the process has.
LIBRARIES = "awk '{ print $6 }' /proc/$(systemctl show -P MainPID rigwright-demo)/maps | grep -E 'ggml|llama' | sort -u"
INSTALLED = "dpkg-query -W -f='${Package} ${Version}\\n' 'libggml0*' 'llama.cpp*' 'libllama0*' 2>/dev/null || :"


@pytest.fixture(scope="module")
def rig(workshop, trixie):
    """A rig that serves from a build of its own."""
    name = workshop.boot("packaged", from_snapshot=trixie.snapshot)
    wait_healthy(workshop, name)
    yield name
    workshop.lab.down([name])


@pytest.mark.faults
def test_packages_of_the_distribution_serve(workshop, trixie, rig):
    """Refused without them, then twice: once a switch, once nothing; verified; back and forth; and nothing is left."""
    wanted = workshop.spec(llamacpp={"source": "distro"})
    serving = workshop.on(rig, "systemctl show -P MainPID rigwright-demo")
    refused = workshop.deploy(wanted, rig)
    assert refused.code != 0 and "this rig's own sources have no llama.cpp; have a suite among them" in refused.output
    assert workshop.on(rig, "systemctl show -P MainPID rigwright-demo") == serving

    before = workshop.traces(rig)
    workshop.on(rig, SUITES)
    prepared, packages = workshop.traces(rig), workshop.on(rig, INSTALLED)
    assert "libggml0" in packages
    built = workshop.on(rig, f"readlink {RELEASE}")
    first = workshop.deploy(wanted, rig)
    assert first.code == 0, first.output
    changes = {"Find the commit of llama.cpp", "Build llama.cpp", "Serve demo"}
    assert first.changed == changes
    assert workshop.deploy(wanted, rig).changed == set()
    made = workshop.on(rig, f"readlink {RELEASE}")
    assert made != built and workshop.on(rig, INSTALLED) == packages
    checked = workshop.rigwright("verify", str(workshop.inventory(wanted, rig)))
    assert checked.code == 0, checked.output

    # Kernels are looked for where the owner's ggml is, first of all.
    libraries = workshop.on(rig, LIBRARIES).splitlines()
    assert any("libggml-cpu-" in one for one in libraries), libraries
    assert all(one.startswith(f"{made}/lib/") for one in libraries), libraries

    back = workshop.rigwright("rollback", str(workshop.inventory(wanted, rig)))
    assert back.code == 0 and workshop.on(rig, f"readlink {RELEASE}") == built, back.output
    again = workshop.deploy(wanted, rig)
    assert again.code == 0, again.output
    assert again.changed == {"Serve demo"}
    assert workshop.on(rig, f"readlink {RELEASE}") == made

    data = ("--data", "remove_weights=true")
    removed = workshop.deploy(wanted, rig, deploy="remove", arguments=("-y", *data))
    assert removed.code == 0, removed.output
    # The owner's ggml needs libgomp too by now.
    left = (trixie.traces | (prepared - before) | {"libgomp1"}) - (before - prepared)
    assert sorted(workshop.traces(rig) ^ left) == []
    assert workshop.on(rig, INSTALLED) == packages


@pytest.mark.cuda
def test_kernels_of_the_distribution_are_held_to_the_gpus(workshop, trixie):
    """They have code for the cards, what they need is installed and noted; and without a device nothing is switched."""
    name = workshop.boot("packaged-cuda", from_snapshot=trixie.snapshot, hardware="2x-rtx3090")
    wait_healthy(workshop, name)
    workshop.on(name, SUITES + KERNELS)
    serving, packages = workshop.on(name, "systemctl show -P MainPID rigwright-demo"), workshop.on(name, INSTALLED)
    refused = workshop.deploy(workshop.spec(llamacpp={"source": "distro"}), name)
    assert refused.code == 1 and "installed from packages of the distribution" in refused.output, refused.output
    assert "demo: llama.cpp finds no CUDA0: no CUDA-capable device is detected" in refused.output
    assert workshop.on(name, "systemctl show -P MainPID rigwright-demo") == serving
    assert workshop.on(name, "ls /opt/rigwright/llamacpp/releases/*/lib/libggml-cuda.so")
    assert "libcublas12 asked" in workshop.on(name, "cat /var/lib/rigwright/packages.installed")
    assert workshop.on(name, INSTALLED) == packages
    workshop.lab.down([name])
