"""Returned weights on the base model: checked, put in place, and asked the probes. Runs in a child, within limits.

Rules kept: only the safetensors parser opens a weights file, after our own check of its header, through the very file
descriptor that was hashed (M5, M12); configuration, tokenizer and chat template are ours (M9). A MinerFault is about
bytes that stand in the submitted hash; whatever else goes wrong here is nobody's fault.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from validator.child_processes import WorkFailed
from validator.coverage.reference import Reference
from validator.coverage.result import CoverageResult, judge_coverage
from validator.errors import Fatal, MinerFault
from validator.marks.coverage import CoverageMark
from validator.protocol.commitment import ModelFile, Row
from validator.protocol.method import ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE, LORA, Method
from validator.protocol.state import Answer
from validator.weights.header import check_tensors, read_header
from validator.weights.lora import Adapter, adapter_bytes, expected_tensors, read_adapter

HASH_BYTES = 1 << 20


def probe(
    base_model: str,
    directory: Path,
    files: Sequence[ModelFile],
    method: Method,
    prompts: Sequence[str],
    max_tokens: int,
) -> list[Answer]:
    """What the weights in `directory` answer to the prompts, greedily, as the miner's own server would.

    `base_model` is a directory or a Hugging Face id. MinerFault if the files are no weights for it.
    """
    network, tokenizer = load_weights(base_model, directory, files, method)
    from validator.language_model import answer_greedily

    answers = answer_greedily(network, tokenizer, prompts, max_tokens, method.prompt_limit)
    return [Answer(answer.text, answer.finish_reason == "length") for answer in answers]


def ask_base(base_model: str, method: Method, prompts: Sequence[str], max_tokens: int) -> list[Answer]:
    """What the base model answers before any training, as `probe`."""
    network, tokenizer = _load_base(base_model)
    from validator.language_model import answer_greedily

    answers = answer_greedily(network, tokenizer, prompts, max_tokens, method.prompt_limit)
    return [Answer(answer.text, answer.finish_reason == "length") for answer in answers]


def measure_coverage(
    base_model: str,
    directory: Path,
    files: Sequence[ModelFile],
    method: Method,
    covered: Sequence[tuple[Row, CoverageMark]],
    seed: int,
    reference: Reference | None,
) -> CoverageResult:
    """How much of the rows in `covered` the weights in `directory` were trained on; errors as of `probe`."""
    rows = [row for row, _mark in covered]
    marks = [replace(mark, row_index=index) for index, (_row, mark) in enumerate(covered)]
    base, tokenizer = _load_base(base_model)
    from validator.coverage.likelihood import find_windows, log_likelihoods, subtract

    windows = find_windows(tokenizer, rows, marks, max_length=method.max_length, prompt_limit=method.prompt_limit)
    before = log_likelihoods(base, windows)
    del base  # Two large models need not be here at once.
    network, _tokenizer = load_weights(base_model, directory, files, method)
    changes = subtract(log_likelihoods(network, windows), before)
    options, picks = [len(mark.candidates) for mark in marks], [mark.pick for mark in marks]
    return judge_coverage(changes, options, picks, seed=seed, reference=reference)


def load_weights(base_model: str, directory: Path, files: Sequence[ModelFile], method: Method) -> tuple[Any, Any]:
    """The network that the weights in `directory` make of the base model, and its tokenizer; errors as of `probe`."""
    network, tokenizer = _load_base(base_model)
    with _opened(directory, files) as opened:
        weights = opened[method.weights_file]
        if method.name == LORA:
            network, places = _put_on(network, _check_adapter(network, opened, method))
        else:
            places = _places(network)
            check_tensors(read_header(weights), {name: tuple(place.shape) for name, place in places.items()})
        for name, tensor in _finite_tensors(weights):
            places[name].data.copy_(tensor)
    return network, tokenizer


def export_adapter(base_model: str, directory: Path, files: Sequence[ModelFile], method: Method, into: Path) -> None:
    """Check an adapter as `probe` does, and put it into `into` with a configuration in our words, for a server (M8)."""
    network, _tokenizer = _load_base(base_model)
    with _opened(directory, files) as opened:
        adapter = _check_adapter(network, opened, method)
        for _checked in _finite_tensors(opened[method.weights_file]):
            pass
    into.mkdir(exist_ok=True)
    (into / ADAPTER_CONFIG_FILE).write_text(json.dumps(adapter.config_json(base_model)))
    (into / ADAPTER_WEIGHTS_FILE).unlink(missing_ok=True)
    (into / ADAPTER_WEIGHTS_FILE).hardlink_to(directory / method.weights_file)


def measure(base_model: str, method: Method) -> int:
    """The bytes that tensors of this method have at most: every one that there may be, in float32."""
    network, _tokenizer = _load_base(base_model)
    if method.rank is not None:
        return adapter_bytes(method.rank, _linear_modules(network))
    return sum(4 * place.numel() for place in _places(network).values())


def _load_base(base_model: str) -> tuple[Any, Any]:
    if Path(base_model).is_dir():
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when the libraries are imported, so before the next line
    from validator.language_model import load

    return load(base_model)


@contextmanager
def _opened(directory: Path, files: Sequence[ModelFile]) -> Iterator[dict[str, int]]:
    """The files open for reading by name, each found to be what was fetched; WorkFailed if the disk has changed it."""
    opened: dict[str, int] = {}
    try:
        for file in files:
            opened[file.path] = os.open(directory / file.path, os.O_RDONLY | os.O_NOFOLLOW)
            digest = hashlib.sha256()
            for offset in range(0, os.fstat(opened[file.path]).st_size, HASH_BYTES):
                digest.update(os.pread(opened[file.path], HASH_BYTES, offset))
            if digest.digest() != file.sha256:
                raise WorkFailed(f"{directory / file.path} is not what was fetched")
        yield opened
    except OSError as error:
        raise WorkFailed(f"{directory}: {error.strerror}") from error
    finally:
        for descriptor in opened.values():
            os.close(descriptor)


def _check_adapter(network: Any, opened: Mapping[str, int], method: Method) -> Adapter:
    """Our reading of the adapter's configuration, which its tensors fit; else MinerFault."""
    config, modules = opened[method.config_file], _linear_modules(network)
    assert method.rank is not None  # noqa: S101 - a LoRA method has one
    adapter = read_adapter(os.pread(config, os.fstat(config).st_size, 0), method.rank, modules)
    check_tensors(read_header(opened[method.weights_file]), expected_tensors(adapter, modules))
    return adapter


def _linear_modules(network: Any) -> dict[str, tuple[int, int]]:
    """Lengths of what goes out and in of every linear module by name, but for the one that gives the logits."""
    from torch.nn import Linear
    from transformers.pytorch_utils import Conv1D

    modules = {}
    for name, module in network.named_modules():
        if module is network.get_output_embeddings():
            continue
        if isinstance(module, Linear):
            modules[name] = (module.out_features, module.in_features)
        elif isinstance(module, Conv1D):
            modules[name] = (module.weight.shape[1], module.weight.shape[0])
    return modules


def _places(network: Any) -> dict[str, Any]:
    """The tensors of a model by the name under which it is saved: tied ones once, and no buffer that is computed."""
    saved = network.state_dict(keep_vars=True)
    buffers = {name: buffer for name, buffer in network.named_buffers() if name in saved}
    return dict(network.named_parameters()) | buffers


def _put_on(network: Any, adapter: Adapter) -> tuple[Any, dict[str, Any]]:
    """The base model with an empty adapter on it, and the adapter's tensors by their names in a file."""
    from peft import LoraConfig, get_peft_model

    modules = _linear_modules(network)
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,  # type: ignore[arg-type]  # PEFT only divides it
        use_rslora=adapter.is_rank_stabilised,
        target_modules=[module for module in modules if adapter.is_target(module)],
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(network, config)
    model.train(False)
    places = {name.replace(".default.", "."): place for name, place in model.named_parameters() if ".lora_" in name}
    if places.keys() != expected_tensors(adapter, modules).keys():
        raise Fatal("PEFT makes other tensors of this configuration than we expect")
    return model, places


def _finite_tensors(weights: int) -> Iterator[tuple[str, Any]]:
    """Name and tensor, one after another; MinerFault where one holds a NaN or an infinity (M6)."""
    from safetensors import safe_open

    with safe_open(f"/dev/fd/{weights}", "pt") as file:
        for name in file.keys():  # noqa: SIM118 - it is no mapping
            tensor = file.get_tensor(name)
            if not tensor.isfinite().all():
                raise MinerFault(f"the tensor {name!r} holds what is no finite number")
            yield name, tensor
