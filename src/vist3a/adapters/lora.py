"""Low-rank adapters of the denoiser, stored alone in PEFT's layout: what VIST3A publishes as ``lora_ema`` is read too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file

from vist3a.adapters.adapter_file import PREFIX, read_adapter
from vist3a.runtime.atomic import replacing

if TYPE_CHECKING:
    from peft import LoraConfig

ADAPTER = "align"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# What is taken from the settings of a stored adapter; the rest is about training.
SETTINGS = (
    "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora", "lora_bias", "bias", "fan_in_fan_out",
    "target_modules", "exclude_modules", "layers_to_transform",
)  # fmt: skip


def add_lora(denoiser: Any, rank: int, alpha: float, targets: Sequence[str], seed: int) -> None:
    """Add a trainable adapter to the attention projections, drawn from ``seed``; everything else is frozen.

    The adapter starts as PEFT's does (A by Kaiming's uniform rule, of standard deviation 1 / sqrt(3 * inputs); B zero) and is of
    float32 at least, whatever the denoiser is: steps of 1e-4 would not move weights of bfloat16. Its products are of the
    denoiser's type, in rollouts and where the gradient is taken, as under the autocast of the public code.

    Example:
        >>> add_lora(generator.denoiser, 8, 16.0, ["to_q", "to_k", "to_v", "to_out.0"], seed=0)
    """
    import torch
    from peft import LoraConfig

    denoiser.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):  # peft draws from the global generator
        torch.manual_seed(seed)
        denoiser.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets)), ADAPTER)
    widen_adapters(denoiser)


def widen_adapters(network: Any) -> None:
    """Parameters of adapters in half precision become float32 (``add_adapter`` of diffusers gives them the network's type).

    The products of linear layers stay in the type of what goes in: PEFT would widen that too, for a quarter more time.
    """
    import torch
    from torch import nn

    from vist3a.adapters.wide_product import WideProduct

    for layer in filter(_is_low, _adapted(network)):
        for name, parameter in layer.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.to(torch.float32)
        if isinstance(layer.get_base_layer(), nn.Linear):
            layer.cast_input_dtype_enabled = False
            for part in (layer.lora_A, layer.lora_B):
                for name, product in part.items():
                    part[name] = WideProduct.of(product)


def save_lora(denoiser: Any, folder: Path) -> None:
    """Write the adapter into ``folder``: ``adapter_config.json`` and ``adapter_model.safetensors``, each whole or not at all.

    Raises:
        DiskFullError: They do not fit; what lay there before stays.
    """
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(denoiser, adapter_name=ADAPTER)
    tensors = {f"{PREFIX}{key}": value.detach().cpu().contiguous() for key, value in state.items()}
    settings = denoiser.peft_config[ADAPTER].to_dict()
    # Sets come out in any order; the file should not.
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in settings.items()}
    # Both files are whole before one of them takes its name.
    with replacing(folder / CONFIG) as text, replacing(folder / WEIGHTS) as weights:
        text.write_text(json.dumps(plain, indent=1, sort_keys=True, default=str) + "\n")
        save_file(tensors, weights)


def load_lora(denoiser: Any, folder: Path) -> None:
    """Load and activate an adapter of PEFT's layout, or in PEFT's folder with kohya's names, frozen, in float32 at least.

    Its own settings count, those of single layers (``rank_pattern``, ``alpha_pattern``) too.

    Raises:
        FileNotFoundError: The folder holds no adapter.
        ValueError: It is of another network or layout, incomplete or damaged.
    """
    from peft import set_peft_model_state_dict

    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} holds no {' and no '.join(missing)}; run the align pipeline first, or name a folder of a PEFT adapter"
        )
    file = folder / WEIGHTS
    modules = [name for name, _ in denoiser.named_modules()]
    stored = read_adapter(file, modules)
    config = _settings(folder / CONFIG, stored.alphas)
    # The layers that the file has weights for; those that its settings name are compared with them below.
    targets = sorted({key.split(".lora_")[0] for key in stored.weights if ".lora_" in key})
    if strangers := [name for name in targets if name not in modules]:
        raise ValueError(
            f"{file}: the adapter is of another network (for example {strangers[0]}, which this denoiser lacks)"
        )
    # Asked before ``target_modules`` is overwritten.
    wanted = _wanted(config, modules)
    config.target_modules = set(targets)
    denoiser.add_adapter(config, ADAPTER)
    widen_adapters(denoiser)
    # PEFT puts the adapter's name into the names of its parameters; files do not have it.
    own = {
        name.replace(f".{ADAPTER}.", ".").replace(f"lora_magnitude_vector.{ADAPTER}", "lora_magnitude_vector")
        for name, _ in denoiser.named_parameters()
        if ".lora_" in name
    }
    lacking = sorted(own - stored.weights.keys()) + [f"{name}.lora_A.weight" for name in wanted if name not in targets]
    if lacking:
        raise ValueError(
            f"{file}: the adapter is incomplete, {len(lacking)} of its weights are missing (for example {lacking[0]}); allowed: "
            "A and B of every layer that its settings name"
        )
    try:
        result = set_peft_model_state_dict(denoiser, dict(stored.weights), adapter_name=ADAPTER)
    except RuntimeError as error:
        shape = " ".join(str(error).split("\n")[-1].split())
        raise ValueError(f"{file}: the adapter is of another network or rank than its settings say: {shape}") from error
    if result.unexpected_keys:
        raise ValueError(f"{file}: unexpected {result.unexpected_keys[0]}; allowed: LoRA weights alone")
    denoiser.requires_grad_(False)


def _settings(file: Path, alphas: Mapping[str, float]) -> LoraConfig:
    """What the file says of rank and strength, ``alphas`` of single layers before it."""
    from peft import LoraConfig

    try:
        stated = json.loads(file.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    kind = stated.get("peft_type") if isinstance(stated, dict) else None
    if kind != "LORA":
        raise ValueError(f"{file}: peft_type is {kind!r}; allowed: LORA")
    if refused := [key for key in ("modules_to_save", "trainable_token_indices") if stated.get(key)]:
        raise ValueError(
            f"{file}: {refused[0]} is {stated[refused[0]]!r}; allowed: adapters that change no other weights"
        )
    kept = {key: stated[key] for key in SETTINGS if stated.get(key) is not None}
    # What the file states of a single layer comes before its settings.
    kept["alpha_pattern"] = {**kept.get("alpha_pattern", {}), **alphas}
    try:
        return LoraConfig(**kept)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from error


def _wanted(config: LoraConfig, modules: Sequence[str]) -> list[str]:
    """The layers that the settings name, where they name them by their ends."""
    # A pattern, or a choice among layers, cannot be told by the ends of names.
    ends = config.target_modules
    if not isinstance(ends, set) or config.layers_to_transform is not None or config.exclude_modules is not None:
        return []
    return [name for name in modules if name in ends or any(name.endswith(f".{end}") for end in ends)]


def merge_lora(denoiser: Any) -> None:
    """Make the active adapter cheap, for inference: the same network with less or no extra work.

    It is added to weights of float32. Beside weights of half precision it stays, as what is smaller than their last bit would be
    lost (88 % of an adapter of a 2,000th of the weights), and takes their numeric type.
    """
    low = [layer for layer in _adapted(denoiser) if _is_low(layer)]
    # In float32 nothing is lost: the adapter becomes part of the weights.
    if not low:
        denoiser.fuse_lora()
        denoiser.unload_lora()
    for layer in low:
        dtype = layer.get_base_layer().weight.dtype
        for name, parameter in layer.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.to(dtype)


def has_adapter(network: Any) -> bool:
    """Whether any layer has an adapter beside its weights."""
    return bool(_adapted(network))


@contextmanager
def merged_lora(denoiser: Any) -> Iterator[None]:
    """Within the block the adapter is added to the weights, for passes that need no gradient; then these have their old bits.

    Saves the adapter's extra work in every layer, at the price of a second copy of the adapted weights. Weights of half precision
    are left alone: with the adapter lost in their rounding, a rollout would not be that of the network whose gradient is taken.
    Of weights that are shared out over processes, each process changes its part. Without an adapter the block changes nothing.
    """
    import torch
    from torch.distributed.tensor import DTensor, distribute_tensor

    def own(weight: Any, like: Any) -> Any:
        """This process's part of ``weight``, shared out as ``like`` is."""
        if not isinstance(like, DTensor):
            return weight
        # Every process has the whole product: without a source rank each cuts out its part, and nothing is sent.
        if not isinstance(weight, DTensor):
            weight = distribute_tensor(weight, like.device_mesh, like.placements, src_data_rank=None)
        return weight.to_local()

    layers = [layer for layer in _adapted(denoiser) if not _is_low(layer)]
    weights = [layer.get_base_layer().weight.detach() for layer in layers]
    before = [own(weight, weight).clone() for weight in weights]
    try:
        with torch.no_grad():
            for layer, weight in zip(layers, weights, strict=True):
                own(weight, weight).add_(own(layer.get_delta_weight(ADAPTER), weight))
                # PEFT's own mark, by which the layer leaves the adapter out of its forward pass.
                layer.merged_adapters.append(ADAPTER)
        yield
    finally:
        # Subtracting what was added would leave the rounding of both.
        for layer, weight, old in zip(layers, weights, before, strict=True):
            own(weight, weight).copy_(old)
            layer.merged_adapters.clear()


@contextmanager
def without_lora(denoiser: Any) -> Iterator[None]:
    """Within the block the network is as it was before the adapter; one without an adapter is itself."""
    layers = _adapted(denoiser)
    # Switching adapters off and on changes what is trained of them.
    trained = {id(p): p.requires_grad for layer in layers for p in layer.parameters()}
    try:
        for layer in layers:
            layer.enable_adapters(False)
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
            for parameter in layer.parameters():
                parameter.requires_grad_(trained[id(parameter)])


def fold_lora(denoiser: Any) -> None:
    """Add the adapter to the weights, whatever their type, and forget it: a network that another adapter can be added to.

    The sum is taken in float32 and then rounded, where :func:`merge_lora` would keep the adapter: it is meant for adapters that
    are large against the last bit of the weights, as those that make a generator sample in few steps.
    """
    import torch

    with torch.no_grad():
        for layer in _adapted(denoiser):
            weight = layer.get_base_layer().weight
            wide = torch.promote_types(weight.dtype, torch.float32)
            weight.copy_(weight.to(wide) + layer.get_delta_weight(ADAPTER).to(wide))
    denoiser.unload_lora()


def _adapted(network: Any) -> list[Any]:
    from peft.tuners.lora import LoraLayer

    return [layer for layer in network.modules() if isinstance(layer, LoraLayer)]


def _is_low(layer: Any) -> bool:
    import torch

    dtype = layer.get_base_layer().weight.dtype
    return torch.promote_types(dtype, torch.float32) != dtype
