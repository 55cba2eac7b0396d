"""`rigwright tiny-model`: a real model small enough to rehearse with."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from rigwright.errors import RigwrightError


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--architecture", type=click.Choice(["qwen35moe", "llama"]), default="qwen35moe", show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
def tiny_model(path: Path, architecture: Literal["qwen35moe", "llama"], seed: int) -> None:
    """Write a GGUF model of a few MB with random weights to PATH: llama.cpp loads it and answers nonsense."""
    from rigwright.lab.tiny_model import write_tiny_model

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_tiny_model(path, architecture, seed=seed)
    except ImportError:
        raise RigwrightError("tiny-model: gguf is not installed; pip install 'rigwright[lab]'") from None
    click.echo(f"{path}: {path.stat().st_size} bytes")
