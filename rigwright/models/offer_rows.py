"""Reads rigwright/catalogue/models.yml: its rows as known models and their offers, once and on demand."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from rigwright import catalogue
from rigwright.models.chats import chats
from rigwright.models.known import KnownDrafter, KnownModel, Sampling, Superseded, Variant
from rigwright.models.quants import find_quant
from rigwright.models.repositories import least_bytes

# How a quant is called whose file holds the layers for further tokens, where others of the model leave them out.
WITH_NEXTN = "MTP-"


@cache
def models() -> dict[str, KnownModel]:
    """Every model by key."""
    data = catalogue.load("models")
    sampling = {
        name: {mode: Sampling(*row) for mode, row in modes.items() if mode != "source"}
        for name, modes in data["sampling"].items()
    }
    return {row["key"]: _known(row, sampling[row["sampling"]]) for row in data["models"]}


@cache
def rows() -> dict[str, Mapping[str, Any]]:
    """The rows as they are written, by key."""
    return {row["key"]: row for row in catalogue.load("models")["models"]}


def _known(row: Mapping[str, Any], sampling: Mapping[str, Sampling]) -> KnownModel:
    projector = row.get("projector", {})
    return KnownModel(
        key=row["key"],
        name=row["name"],
        aliases=tuple(row["aliases"]),
        parameters=row["parameters"],
        sampling=sampling,
        sampling_source=catalogue.load("models")["sampling"][row["sampling"]]["source"],
        thinking=row["thinking"],
        chat=chats()[row["chat"]],
        scores=row.get("scores", {}),
        total_parameters=row["total_parameters"],
        active_parameters=row["active_parameters"],
        projector_bytes=projector.get("bytes"),
        projector_file=projector.get("file"),
        license=row["license"],
        released=row["released"],
        source=row["source"],
        has_mtp=row["has_mtp"],
        good_at=row["good_at"],
        note=row.get("note", ""),
        superseded=tuple(_superseded(one) for one in row.get("superseded", ())),
        drafter=_drafter(row["drafter"]) if "drafter" in row else None,
    )


def _drafter(row: Mapping[str, Any]) -> KnownDrafter:
    return KnownDrafter(f"hf:{row['repo']}:{row['file']}", row["bytes"], row["gain"])


def _superseded(row: Mapping[str, Any]) -> Superseded:
    plain = {key: row[key] for key in ("quant", "why", "before", "sha256", "revision", "perplexity") if key in row}
    return Superseded(**plain, file_bytes=row.get("bytes"), is_size_exact=row.get("size") == "exact")


@cache
def offers_of(key: str) -> tuple[Variant, ...]:
    """The offers of a model: GGUF files from coarse to fine, then repositories of safetensors."""
    known, row = models()[key], rows()[key]
    losses = _losses(known, row)
    found = [_offer(known, part, one, losses) for part in row["files"] for one in part["rows"]]
    return tuple(sorted(found, key=lambda one: (one.format, one.file_bytes)))


def _offer(known: KnownModel, part: Mapping[str, Any], row: Mapping[str, Any], losses: _Losses) -> Variant:
    quant, parts = row["quant"], row.get("parts", 1)
    file = row.get("file") or part.get("file")
    loss, is_measured = losses.of(quant)
    return Variant(
        known=known,
        name=f"{known.name} {quant}",
        quant=quant,
        format=part["format"],
        file_bytes=_file_bytes(known, part, row),
        loss_percent=loss,
        repo=part["repo"],
        revision=row.get("revision") or part.get("revision") or "main",
        file=file.format(quant=quant, file_quant=quant.removeprefix(WITH_NEXTN), parts=parts) if file else None,
        sha256=row.get("sha256"),
        notes=row.get("note", ""),
        parts=parts,
        size=row.get("size", "estimated"),
        is_loss_measured=is_measured,
        loaded_bytes=row.get("loaded_bytes"),
        source=row.get("source") or (part["source"] if "bytes" in row else "derived"),
        nextn_in_file=part.get("nextn_in_file", known.parameters.get("nextn_in_file", False)),
    )


def _file_bytes(known: KnownModel, part: Mapping[str, Any], row: Mapping[str, Any]) -> int:
    """What the row says; what it does not say, or only roughly, is no less than such a file can be."""
    quant = row["quant"]
    said = row.get("bytes") or int(known.total_parameters * find_quant(quant).bits / 8)
    if part["format"] != "safetensors" or row.get("size") == "exact":
        return int(said)
    return max(said, least_bytes(known.parameters, quant, known.total_parameters))


def _losses(known: KnownModel, row: Mapping[str, Any]) -> _Losses:
    """A large model that nobody measured loses what the measured large one does, and not what a small one does."""
    reference = catalogue.load("models")["loss_reference"]
    if "perplexity_baseline" in row or known.total_parameters < reference["from_total_parameters"]:
        return _Losses(row)
    return _Losses(rows()[reference["key"]], is_own=False)


class _Losses:
    """The loss of each quant of one model; `is_own` is False where the measurements are those of another.

    A quant without a measurement gets its typical loss, scaled by how the measured ones of this model compare with
    theirs (median), and never more than a measured one that is typically no better.
    """

    def __init__(self, row: Mapping[str, Any], *, is_own: bool = True) -> None:
        self._is_own = is_own
        baseline = row.get("perplexity_baseline")
        files = [one for part in row["files"] for one in part["rows"] if "perplexity" in one]
        self._measured = {one["quant"]: round(100 * (one["perplexity"] / baseline - 1), 2) for one in files}
        pairs = [(loss, find_quant(quant).loss_percent) for quant, loss in self._measured.items()]
        ratios = sorted(loss / typical for loss, typical in pairs if typical)
        self._scale = ratios[len(ratios) // 2] if ratios else 1.0

    def of(self, quant: str) -> tuple[float, bool]:
        if quant in self._measured:
            return self._measured[quant], self._is_own
        kind = find_quant(quant)
        worse = [loss for name, loss in self._measured.items() if find_quant(name).loss_percent >= kind.loss_percent]
        return round(min([kind.loss_percent * self._scale, *worse]), 2), False
