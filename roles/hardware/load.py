"""Copies data to each GPU and back, and reads its PCIe link meanwhile: an idle link is slower than it can be.

Sent to a rig and run there by any Python from 3.6 on. Prints lines `FILE|text`. Allocates 64 MiB on each GPU and as
much in RAM, frees both, and leaves GPUs alone that have no room for it. One process per GPU: one that hangs takes no
other with it.
"""

import os
import select
import signal
import sys
import time

try:
    import ctypes
    import subprocess
except ImportError as missing:  # python3-minimal
    sys.stdout.write(f"load.txt|python3 is not whole ({missing}); install the package python3\n")
    sys.exit(0)

BLOCK_BYTES = 64 << 20
BLOCKS_AT_ONCE = 4
SECONDS = 0.75
WATCH_SECONDS = 10
GPU_SECONDS = 40
# A CUDA context takes up to 0.6 GiB; what runs on the GPU keeps the rest.
NEEDED_MIB = 1024
LINK = "index,pcie.link.gen.current,pcie.link.width.current,pcie.link.gen.max,pcie.link.width.max"
TRANSFER = "index, host_to_device_gbytes_per_second, device_to_host_gbytes_per_second"


class Failed(Exception):
    """What cannot be done on this rig, in words."""


def say(file: str, text: str) -> None:
    sys.stdout.write(f"{file}|{text}\n")
    sys.stdout.flush()


def smi(*arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(("nvidia-smi", *arguments), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def gpus() -> "list[tuple[int, str, int]]":
    """Index, PCI address and free MiB of each GPU; -1 where that is not told."""
    try:
        asked = smi("--query-gpu=index,pci.bus_id,memory.free", "--format=csv,noheader,nounits")
        said = asked.communicate(timeout=15)[0].decode("ascii", "replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"nvidia-smi: {error}") from None
    rows = [[cell.strip() for cell in line.split(",")] for line in said.splitlines()]
    found = [
        (int(row[0]), row[1], int(row[2]) if row[2].isdigit() else -1)
        for row in rows
        if len(row) == 3 and row[0].isdigit()
    ]
    if not found:
        raise Failed("nvidia-smi lists no GPU")
    return found


class Cuda:
    """The driver's own library. Source: cuda.h, the driver API since CUDA 4; addresses on a GPU have 64 bits."""

    def __init__(self) -> None:
        try:
            self.library = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise Failed(f"the driver's CUDA library cannot be loaded: {error}") from None
        self.call("cuInit", 0)

    def call(self, name: str, *arguments: object) -> None:
        code = getattr(self.library, name)(*arguments)
        if code:
            text = ctypes.c_char_p()
            self.library.cuGetErrorString(code, ctypes.byref(text))
            raise Failed(f"{name} failed: {(text.value or b'unknown error').decode()} ({code})")


class Copies:
    """A block in RAM that the GPU reaches by itself, a block on the GPU, and copies between them."""

    def __init__(self, cuda: Cuda, address: str) -> None:
        self.cuda = cuda
        self.host, self.device = ctypes.c_void_p(), ctypes.c_uint64()
        self.context, self.stream = ctypes.c_void_p(), ctypes.c_void_p()
        gpu, size = ctypes.c_int(), ctypes.c_size_t(BLOCK_BYTES)
        cuda.call("cuDeviceGetByPCIBusId", ctypes.byref(gpu), address.encode())
        cuda.call("cuCtxCreate_v2", ctypes.byref(self.context), 0, gpu)
        try:
            cuda.call("cuMemHostAlloc", ctypes.byref(self.host), size, 0)
            cuda.call("cuMemAlloc_v2", ctypes.byref(self.device), size)
            cuda.call("cuStreamCreate", ctypes.byref(self.stream), 1)
        except Failed:
            self.close()
            raise

    def close(self) -> None:
        """Free what was taken; the context goes last."""
        library = self.cuda.library
        for free, what in (("cuStreamDestroy_v2", self.stream), ("cuMemFree_v2", self.device),
                           ("cuMemFreeHost", self.host), ("cuCtxDestroy_v2", self.context)):  # fmt: skip
            if what.value:
                getattr(library, free)(what)

    def rate(self, name: str, watch: "Watch | None" = None) -> float:
        """Gigabytes per second of the copy `name`; goes on until `watch` has seen it."""
        to_gpu = name == "cuMemcpyHtoDAsync_v2"
        ends = (self.device, self.host) if to_gpu else (self.host, self.device)
        began, moved = None, 0
        while True:
            for _ in range(BLOCKS_AT_ONCE):
                self.cuda.call(name, *ends, ctypes.c_size_t(BLOCK_BYTES), self.stream)
            self.cuda.call("cuStreamSynchronize", self.stream)
            now = time.monotonic()
            if began is None:  # the first round wakes the link up
                began = now
                continue
            moved += BLOCKS_AT_ONCE * BLOCK_BYTES
            seconds = now - began
            if watch:
                watch.look(seconds)
            if seconds >= SECONDS and (watch is None or watch.is_done or seconds > WATCH_SECONDS):
                return moved / seconds / 1e9


class Watch:
    """nvidia-smi, started in the middle of a copy."""

    def __init__(self, address: str) -> None:
        self.address, self.said, self.is_done = address, "", False
        self.process: subprocess.Popen[bytes] | None = None

    def look(self, seconds: float) -> None:
        """Start it after a while; take what it said when it has ended."""
        if self.process is None and seconds > SECONDS / 3:
            self.process = smi(f"--id={self.address}", f"--query-gpu={LINK}", "--format=csv")
        elif self.process is not None and not self.is_done and self.process.poll() is not None and self.process.stdout:
            self.said, self.is_done = self.process.stdout.read().decode("ascii", "replace"), True


def measure(address: str) -> "list[str]":
    """Two rates and, under load, the header and the row of the link."""
    domain, _, rest = address.rpartition(":")[0].partition(":")
    copies = Copies(Cuda(), f"{int(domain, 16):04x}:{rest}:{address.rpartition(':')[2]}")
    watch = Watch(address)
    try:
        forth = copies.rate("cuMemcpyHtoDAsync_v2", watch)
        back = copies.rate("cuMemcpyDtoHAsync_v2")
    finally:
        copies.close()
        if watch.process and watch.process.poll() is None:
            watch.process.kill()
    return [f"{forth:.2f}, {back:.2f}", *watch.said.splitlines()[:2]]


def in_a_process(address: str) -> "list[str]":
    """`measure` in a process of its own, with a time limit."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        text = ""
        try:
            text = "\n".join(measure(address))
        except Failed as failed:
            text = f"!{failed}"
        finally:
            os.write(writer, text.encode())
            os._exit(0)
    os.close(writer)
    is_ready = select.select([reader], [], [], GPU_SECONDS)[0]
    text = os.read(reader, 4096).decode() if is_ready else f"!no answer within {GPU_SECONDS} s"
    os.close(reader)
    if not is_ready:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0 if is_ready else os.WNOHANG)
    if not text or text.startswith("!"):
        raise Failed(text[1:] or "the driver ended the process")
    return text.split("\n")


def main() -> None:
    """One GPU after the other: together they would share the memory's speed."""
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    begun: set[str] = set()
    for index, address, free_mib in gpus():
        try:
            if free_mib < 0:
                raise Failed("nvidia-smi does not say how much of its memory is free")
            if free_mib < NEEDED_MIB:
                raise Failed(f"in use: {free_mib} MiB are free, {NEEDED_MIB} MiB are needed; stop what runs on it")
            rates, *link = in_a_process(address)
        except Failed as failed:
            say("load.txt", f"GPU {index}: {failed}")
            continue
        said = [("transfer.csv", TRANSFER, f"{index}, {rates}")]
        if len(link) == 2:
            said.append(("query-load.csv", link[0], link[1]))
        else:
            say("load.txt", f"GPU {index}: nvidia-smi did not say how its link runs")
        for file, head, row in said:
            if file not in begun:
                say(file, head)
            begun.add(file)
            say(file, row)


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        say("load.txt", str(failed))
