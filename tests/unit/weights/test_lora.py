"""Our reading of adapter_config.json: six values and the targets, whatever else the file says."""

import json
from dataclasses import replace

import pytest

from tests.unit.weights.adapters import RANK
from validator.errors import BadInput, MinerFault
from validator.protocol.method import FULL, LORA, MAX_RANK, Method, read_method
from validator.weights.lora import Adapter, adapter_bytes, expected_tensors, read_adapter

MODULES = {"model.layers.0.q_proj": (12, 8), "model.layers.0.k_proj": (4, 8), "model.layers.1.q_proj": (12, 8)}
CONFIG = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": RANK,
    "lora_alpha": 16,
    "use_rslora": True,
    "bias": "none",
    "target_modules": ["q_proj"],
}


def read(**changes: object) -> Adapter:
    return read_adapter(json.dumps(CONFIG | changes).encode(), RANK, MODULES)


def test_a_plain_configuration_is_read():
    assert read() == Adapter(RANK, 16.0, is_rank_stabilised=True, targets=("q_proj",))
    assert read(use_rslora=False).is_rank_stabilised is False
    assert read(target_modules=["q_proj", "k_proj"]).targets == ("k_proj", "q_proj")
    assert read(target_modules=["layers.1.q_proj"]).is_target("model.layers.0.q_proj") is False


def test_expected_are_two_tensors_for_each_target():
    assert expected_tensors(read(target_modules=["model.layers.0.q_proj"]), MODULES) == {
        "base_model.model.model.layers.0.q_proj.lora_A.weight": (RANK, 8),
        "base_model.model.model.layers.0.q_proj.lora_B.weight": (12, RANK),
    }
    assert adapter_bytes(RANK, MODULES) == 4 * RANK * (20 + 12 + 20)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"peft_type": "IA3"}, "peft_type"),
        ({"peft_type": None}, "peft_type"),
        ({"task_type": "SEQ_CLS"}, "task_type"),
        ({"bias": "all"}, "bias"),
        ({"r": 257}, "r is not 8"),
        ({"r": RANK + 1}, "r is not 8"),
        ({"r": 8.0}, "r is not 8"),
        ({"r": True}, "r is not 8"),
        ({"r": "8"}, "r is not 8"),
        ({"lora_alpha": 0}, "lora_alpha"),
        ({"lora_alpha": -1}, "lora_alpha"),
        ({"lora_alpha": 1e9}, "lora_alpha"),
        ({"lora_alpha": None}, "lora_alpha"),
        ({"lora_alpha": True}, "lora_alpha"),
        ({"lora_alpha": [16]}, "lora_alpha"),
        ({"use_rslora": 1}, "use_rslora"),
        ({"target_modules": "all-linear"}, "target_modules"),
        ({"target_modules": ".*"}, "target_modules"),
        ({"target_modules": []}, "target_modules"),
        ({"target_modules": [""]}, "target_modules"),
        ({"target_modules": ["q_proj", "q_proj"]}, "target_modules"),
        ({"target_modules": [["q_proj"]]}, "target_modules"),
        ({"target_modules": [f"m{i}" for i in range(257)]}, "target_modules"),
        ({"target_modules": ["q_proj", "lm_head"]}, "no linear module 'lm_head'"),
        ({"target_modules": ["proj"]}, "no linear module 'proj'"),
        ({"target_modules": [".*"]}, "no linear module"),
        ({"target_modules": ["../../etc/passwd"]}, "no linear module"),
        ({"use_dora": True}, "use_dora is not supported"),
        ({"alpha_pattern": {"q_proj": 1}}, "alpha_pattern is not supported"),
        ({"rank_pattern": {"q_proj": 1}}, "rank_pattern is not supported"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save is not supported"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens is not supported"),
    ],
    ids=repr,
)
def test_what_would_be_another_adapter_is_refused(changes, complaint):
    """M7."""
    with pytest.raises(MinerFault, match=complaint):
        read(**changes)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (b"", "not valid JSON"),
        (b"[]", "not an object"),
        (b'{"r":8,"r":9}', "twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"lora_alpha":1e999}', "64 bits"),
        (b"\x80\x02cos\nsystem\n.", "UTF-8"),
    ],
)
def test_a_configuration_that_is_no_strict_json_is_refused(config, complaint):
    """M8, N12."""
    with pytest.raises(MinerFault, match=complaint):
        read_adapter(config, RANK, MODULES)


def test_what_names_code_or_places_is_not_even_looked_at():
    """M8: the keys by which PEFT would import a module or fetch a model change nothing here."""
    hostile = {
        "auto_mapping": {"base_model_class": "x", "parent_library": "os"},
        "megatron_core": "antigravity",
        "megatron_config": {"a": 1},
        "tokenizer_kwargs": {"trust_remote_code": True},
        "base_model_name_or_path": "https://example.org/evil",
        "revision": "evil",
        "eva_config": {"a": 1},
    }
    assert read(**hostile) == read()
    assert read().config_json("base")["base_model_name_or_path"] == "base"


@pytest.mark.parametrize(
    ("spec", "method"),
    [
        ('{"method":"full","max_length":96}', Method(FULL, 96)),
        ('{"method":"lora","max_length":257,"rank":32}', Method(LORA, 257, 32)),
        (f'{{"method":"lora","max_length":2,"rank":{MAX_RANK}}}', Method(LORA, 2, MAX_RANK)),
    ],
)
def test_the_spec_says_how_weights_are_returned(spec, method):
    assert read_method(spec) == method


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "{}",
        '{"method":"ia3","max_length":96}',
        '{"method":"full"}',
        '{"method":"full","max_length":1}',
        '{"method":"full","max_length":9.5}',
        '{"method":"lora","max_length":96}',
        '{"method":"lora","max_length":96,"rank":0}',
        '{"method":"lora","max_length":96,"rank":257}',
        '{"method":"lora","max_length":96,"rank":true}',
    ],
)
def test_a_spec_that_no_weights_can_be_returned_for_is_bad_input(spec):
    with pytest.raises(BadInput):
        read_method(spec)


def test_only_two_names_are_ever_asked_for():
    """M10, M11: no index, no shards, no pickles, no paths."""
    assert Method(LORA, 256, RANK).file_names == ("adapter_config.json", "adapter_model.safetensors")
    assert Method(FULL, 256).file_names == ("config.json", "model.safetensors")
    assert all(
        list(m.file_names) == sorted(m.file_names) for m in (Method(FULL, 1), replace(Method(FULL, 1), name=LORA))
    )
