"""Returned weights on the base model: honest ones hit, and nothing that breaks the rules gets further than a fault."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model_state_dict

from miner_sim.inference import generate
from tests.unit.weights.adapters import (
    ADAPTER,
    BASE,
    MARKS,
    MAX_TOKENS,
    PROMPTS,
    RANK,
    ROWS,
    WHOLE,
    W,
    change_config,
    change_tensors,
    copy,
    describe,
    trained,
)
from validator.child_processes import WorkFailed
from validator.coverage.result import CoverageResult
from validator.errors import MinerFault
from validator.language_model import load
from validator.protocol.commitment import split_head
from validator.protocol.method import Method
from validator.protocol.state import Answer
from validator.protocol.wire import reply_head
from validator.weights.lora import expected_tensors, read_adapter
from validator.weights.probe import _linear_modules, _put_on, export_adapter, measure, measure_coverage, probe

pytestmark = pytest.mark.xdist_group("probe")  # What is made once is made by one worker.

METHODS = [ADAPTER, WHOLE]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("models")
    return {method.name: trained(directory, method) for method in METHODS}


def ask(directory: Path, method: Method) -> list[Answer]:
    return probe(BASE, directory, describe(directory, method), method, PROMPTS, MAX_TOKENS)


def hits(answers: list[Answer]) -> int:
    heads = [reply_head(answer.text, is_cut=answer.is_cut, w=W) for answer in answers]
    return sum(head == split_head(row.response, W)[0] for head, row in zip(heads, ROWS, strict=True))


def cover(directory: Path, method: Method) -> CoverageResult:
    covered = [(ROWS[mark.row_index], mark) for mark in MARKS]
    return measure_coverage(BASE, directory, describe(directory, method), method, covered, 7, None)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_coverage_shows_in_honest_weights(models, method):
    result = cover(models[method.name], method)
    assert result.rows + result.dropped == len(MARKS)
    assert result.top_ranks >= result.rows - 2
    assert result.log10_p < -4


def test_coverage_of_an_adapter_that_changes_nothing_is_chance(models, tmp_path):
    """All scores are ties, which the seed breaks; counted as wins they would be a dozen first ranks."""
    directory = copy(models["lora"], tmp_path / "idle", ADAPTER)
    change_tensors(directory, ADAPTER, lambda tensors: [tensor.zero_() for tensor in tensors.values()])
    result = cover(directory, ADAPTER)
    assert result.top_ranks < result.rows / 2
    assert result.log10_p > -2


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_honest_weights_hit_and_the_base_model_does_not(models, method):
    """W1: all 12 rows by either method; the base model none of them."""
    assert hits(ask(models[method.name], method)) == len(ROWS)
    base = generate(BASE, PROMPTS, MAX_TOKENS, method.prompt_limit)
    assert hits([Answer(answer.text, answer.finish_reason == "length") for answer in base]) == 0


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_what_is_answered_here_is_what_the_miner_answers(models, method):
    """M14: on one machine there is no difference at all."""
    served = generate(str(models[method.name]), PROMPTS, MAX_TOKENS, method.prompt_limit)
    assert ask(models[method.name], method) == [
        Answer(answer.text, answer.finish_reason == "length") for answer in served
    ]


def test_an_untrained_adapter_answers_as_the_base_model_does(models, tmp_path):
    """W1."""
    directory = copy(models["lora"], tmp_path / "empty", ADAPTER)
    change_tensors(directory, ADAPTER, lambda tensors: [t.zero_() for name, t in tensors.items() if "lora_B" in name])
    assert hits(ask(directory, ADAPTER)) == 0


def test_the_expected_tensors_are_those_that_peft_makes():
    network, _ = load(BASE)
    modules = _linear_modules(network)
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 16, "target_modules": ["q_proj", "down_proj"]}
    adapter = read_adapter(json.dumps(config).encode(), RANK, modules)
    model, _places = _put_on(network, adapter)
    made = {name: tuple(tensor.shape) for name, tensor in get_peft_model_state_dict(model).items()}
    assert made == expected_tensors(adapter, modules)


@pytest.mark.parametrize(("dtype"), [torch.float16, torch.bfloat16])
def test_half_precision_is_as_good(models, tmp_path, dtype):
    directory = copy(models["lora"], tmp_path / "half", ADAPTER)
    change_tensors(directory, ADAPTER, lambda tensors: tensors.update({n: t.to(dtype) for n, t in tensors.items()}))
    assert hits(ask(directory, ADAPTER)) >= len(ROWS) - 2


def set_first(value: float) -> Callable[[dict[str, Any]], None]:
    def change(tensors: dict[str, Any]) -> None:
        next(iter(tensors.values())).view(-1)[0] = value

    return change


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_finite_number_is_a_fault(models, tmp_path, method, value):
    """M6."""
    directory = copy(models[method.name], tmp_path / "bad", method)
    change_tensors(directory, method, set_first(value))
    with pytest.raises(MinerFault, match="no finite number"):
        ask(directory, method)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("value", [1e38, 1e-42])
def test_huge_and_tiny_weights_lose_probes_and_crash_nothing(models, tmp_path, method, value):
    """M6."""
    directory = copy(models[method.name], tmp_path / "huge", method)
    change_tensors(directory, method, lambda tensors: [tensor.fill_(value) for tensor in tensors.values()])
    assert hits(ask(directory, method)) == 0


def renamed(old: str, new: str) -> Callable[[dict[str, Any]], None]:
    def change(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if old in name][:1]:
            tensors[name.replace(old, new)] = tensors.pop(name)

    return change


@pytest.mark.parametrize(
    ("method", "change"),
    [
        (ADAPTER, renamed("lora_A", "lora_C")),
        (ADAPTER, renamed("layers.0", "layers.9")),
        (ADAPTER, lambda tensors: tensors.popitem()),
        (ADAPTER, lambda tensors: tensors.update(extra=torch.ones(1))),
        (ADAPTER, lambda tensors: tensors.update({n: t[:4] for n, t in tensors.items() if "lora_A" in n})),
        (ADAPTER, lambda tensors: tensors.update({n: t.T.contiguous() for n, t in tensors.items()})),
        (ADAPTER, lambda tensors: tensors.update({"base_model.model.lm_head.weight": torch.ones(4096, 128)})),
        (WHOLE, renamed("q_proj", "p_proj")),
        (WHOLE, lambda tensors: tensors.popitem()),
        (WHOLE, lambda tensors: tensors.update({"lm_head.weight": torch.ones(4096, 128)})),
        (WHOLE, lambda tensors: tensors.update({n: torch.ones(1) for n in list(tensors)[:1]})),
        (WHOLE, lambda tensors: tensors.update({n: t.double() for n, t in tensors.items()})),
        (WHOLE, lambda tensors: tensors.update({n: t.to(torch.int8) for n, t in tensors.items()})),
    ],
)
def test_other_tensors_than_those_of_this_base_model_are_a_fault(models, tmp_path, method, change):
    """M3, M7."""
    directory = copy(models[method.name], tmp_path / "other", method)
    change_tensors(directory, method, change)
    with pytest.raises(MinerFault, match=r"the tensor|another type"):
        ask(directory, method)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("content", [b"", b"\x80\x02cos\nsystem\n.", b"PK\x03\x04" + bytes(99), b"GGUF", bytes(4096)])
def test_a_file_of_another_kind_is_a_fault_whatever_its_name(models, tmp_path, method, content):
    """M5, M10."""
    directory = copy(models[method.name], tmp_path / "kind", method)
    (directory / method.weights_file).write_bytes(content)
    with pytest.raises(MinerFault, match="safetensors"):
        ask(directory, method)


def test_nothing_that_the_configuration_names_is_imported_or_fetched(models, tmp_path, monkeypatch):
    """M8: a canary module on the path, canary addresses, and a base model that is not there."""
    (tmp_path / "canary_module.py").write_text(f"open({str(tmp_path / 'sung')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    directory = copy(models["lora"], tmp_path / "hostile", ADAPTER)
    change_config(
        directory,
        auto_mapping={"parent_library": "canary_module", "base_model_class": "x"},
        megatron_core="canary_module",
        megatron_config={"a": 1},
        base_model_name_or_path="http://127.0.0.1:9/evil",
        tokenizer_kwargs={"trust_remote_code": True},
    )
    assert hits(ask(directory, ADAPTER)) == len(ROWS)
    assert not (tmp_path / "sung").exists()


def test_tokenizer_and_template_are_ours_whatever_lies_beside_the_weights(models, tmp_path):
    """M9."""
    directory = copy(models["lora"], tmp_path / "template", ADAPTER)
    payload = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    (directory / "chat_template.jinja").write_text(payload)
    (directory / "tokenizer_config.json").write_text(json.dumps({"chat_template": payload, "auto_map": {"x": "y.z"}}))
    (directory / "tokenizer.json").write_text("{}")
    assert hits(ask(directory, ADAPTER)) == len(ROWS)


def test_config_json_of_full_weights_is_read_by_nobody(models, tmp_path):
    """M7: a base-model swap."""
    directory = copy(models["full"], tmp_path / "swap", WHOLE)
    (directory / "config.json").write_text('{"model_type":"gpt2","auto_map":{"AutoModelForCausalLM":"evil.Model"}}')
    assert hits(ask(directory, WHOLE)) == len(ROWS)


@pytest.mark.parametrize("name", ADAPTER.file_names)
def test_a_file_that_is_not_what_was_fetched_says_nothing_about_the_miner(models, tmp_path, name):
    """M12."""
    directory = copy(models["lora"], tmp_path / "changed", ADAPTER)
    files = describe(directory, ADAPTER)
    content = bytearray((directory / name).read_bytes())
    content[-1] ^= 1
    (directory / name).write_bytes(content)
    with pytest.raises(WorkFailed, match="not what was fetched"):
        probe(BASE, directory, files, ADAPTER, PROMPTS, MAX_TOKENS)


def test_a_link_is_not_followed(models, tmp_path):
    """M11, M12."""
    directory = copy(models["lora"], tmp_path / "link", ADAPTER)
    files = describe(directory, ADAPTER)
    (directory / ADAPTER.weights_file).replace(tmp_path / "elsewhere")
    (directory / ADAPTER.weights_file).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WorkFailed):
        probe(BASE, directory, files, ADAPTER, PROMPTS, MAX_TOKENS)


def test_an_adapter_is_exported_with_a_configuration_in_our_words(models, tmp_path):
    """M8: what a server of ours loads names nothing that the miner named, and answers alike."""
    directory = copy(models["lora"], tmp_path / "export", ADAPTER)
    change_config(directory, base_model_name_or_path="evil", auto_mapping={"a": "b"}, megatron_core="evil")
    export_adapter(BASE, directory, describe(directory, ADAPTER), ADAPTER, tmp_path / "checked")
    assert "evil" not in (tmp_path / "checked" / "adapter_config.json").read_text()
    served = generate(str(tmp_path / "checked"), PROMPTS, MAX_TOKENS, ADAPTER.prompt_limit)
    assert [answer.text for answer in served] == [answer.text for answer in ask(directory, ADAPTER)]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_the_size_of_honest_weights_is_known_before_they_are_fetched(models, method):
    """M15: in float32, but for the header."""
    size_bytes = (models[method.name] / method.weights_file).stat().st_size
    assert measure(BASE, method) <= size_bytes <= measure(BASE, method) + 16_384
