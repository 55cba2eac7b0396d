"""The JSON answer of `rigwright size`."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from rigwright.view.answers.answer import Answer
from rigwright.view.answers.plan import Parts

_Pace = Annotated[float, AfterValidator(partial(round, ndigits=2))]


class DecodeSpeed(Answer):
    """How fast one request is written."""

    low: _Pace = Field(description="four runs of five lie between low and high")
    expected: _Pace = Field(description="tokens per second")
    high: _Pace = Field(description="see low")


class Size(Answer):
    """What `rigwright size --json` prints. All sizes are whole bytes."""

    # A field with a default is there only where it applies.
    model_config = ConfigDict(title="rigwright size", json_schema_serialization_defaults_required=False)

    model: str = Field(description="the model that was sized")
    quant: str | None = Field(description="how its weights are quantised; null where only dimensions are known")
    engine: Literal["llamacpp", "ik_llamacpp", "vllm"] = Field(description="what would serve it")
    weights_bytes: int = Field(description="the weights, each once; the copy of a tied embedding counts in host_bytes")
    kv_bytes: int = Field(description="the KV cache of layers that see the whole context")
    kv_swa_bytes: int = Field(description="the KV cache of layers that see a window")
    recurrent_bytes: int = Field(description="the state of recurrent layers")
    compute_bytes: tuple[int, ...] = Field(description="what each device needs while it computes")
    compute_margin_bytes: int = Field(description="by how much more that may be, on each device")
    drafting_bytes: int = Field(description="what drafting ahead adds")
    overhead_bytes: int = Field(description="what a process takes of its GPUs before its first buffer")
    total_bytes: int = Field(description="all of it on the GPUs; in RAM where no GPU takes part")
    total_margin_bytes: int = Field(description="by how much more all of it may be")
    host_bytes: int = Field(description="what lies in RAM")
    kv_tokens: int | None = Field(None, description="vLLM: tokens that the KV cache holds")
    max_concurrency: float | None = Field(None, description="vLLM: requests of the full length at once")
    block_tokens: int | None = Field(None, description="vLLM: tokens of a block of its cache")
    per_gpu: tuple[Parts, ...] = Field(description="the same for each GPU")
    exact: dict[str, bool] = Field(description="which sizes are computed to the byte")
    assumptions: tuple[str, ...] = Field(description="what was assumed")
    decode_tokens_per_second: DecodeSpeed | SkipJsonSchema[None] = Field(
        None, description="with --speed: how fast one request is written"
    )

    def plain(self) -> dict[str, Any]:
        """The object as `json.dumps` takes it."""
        return self.model_dump(mode="json", exclude_unset=True)
