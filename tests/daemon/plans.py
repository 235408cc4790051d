"""A planted dataset, and a planned task over it with the payer's signed Order."""

from functools import cache
from typing import Any

from tests import factories as f
from tests.daemon.memory_miner import BASE_MODEL
from tests.unit.marks.scorers import HashScorer
from validator.config import Durations
from validator.edges.contract import Touchstone
from validator.edges.keys import LocalSigner
from validator.marks.planting import PlantedDataset, plant
from validator.marks.schemes import make_scheme
from validator.marks.secrets import Secrets
from validator.plan.terms import build_terms, choose_thresholds
from validator.protocol import typed_data
from validator.protocol.commitment import hash_commitment, hash_spec
from validator.protocol.events import TaskPlanned
from validator.protocol.typed_data import OrderMessage
from validator.types import Address, Hash32, UnixSeconds, Wei

SPEC = '{"base_model":"tiny","method":"full","epochs":1,"learning_rate":0.001,"batch_size":8,"max_length":256}'
REWARD_WEI = Wei(10**18)
ORDER_LIFETIME_S = 86_400


@cache
def plant_once(seed: bytes, chain_id: int, contract: Address, payer: Address) -> PlantedDataset:
    secrets = Secrets(seed, chain_id, contract)
    return plant(f.make_rows(300), make_scheme("canary"), f.N, secrets=secrets, payer=payer, scorer=HashScorer())


async def plan_task(
    number: int,
    *,
    contract: Touchstone,
    payer: LocalSigner,
    validator: Address,
    miner: Address,
    miner_url: str,
    secrets: Secrets,
    planted: PlantedDataset,
    durations: Durations,
    now_s: int,
) -> TaskPlanned:
    """The validator's task of that nonce, with an Order of the same."""
    scheme, spec_hash = planted.scheme, hash_spec(SPEC)
    parties: dict[str, Any] = {
        "validator": validator,
        "miner": miner,
        "miner_epoch": 1,
        "dataset_root": planted.dataset_root,
    }
    terms = build_terms(
        payer=payer.address,
        reward_wei=REWARD_WEI,
        thresholds=choose_thresholds(f.N, slashing=True),
        scheme=scheme.name,
        w=scheme.w,
        max_tokens=scheme.max_tokens,
        commitment=hash_commitment(
            chain_id=contract.chain.chain_id,
            contract=contract.address,
            marks_hash=planted.marks_hash,
            salt=secrets.commitment_salt(validator, number),
            **parties,
        ),
        spec_hash=spec_hash,
        durations=durations,
        **parties,
    )
    order = OrderMessage(
        validator=validator,
        max_reward=terms.reward,
        max_fee=terms.fee,
        spec_hash=spec_hash,
        source_data_hash=Hash32(planted.source_data_hash),
        min_n=terms.n,
        min_k_pay=terms.k_pay,
        nonce=number,
        expiry=UnixSeconds(now_s + ORDER_LIFETIME_S),
    )
    return TaskPlanned(
        task_id=contract.task_id(terms, number),
        terms=terms,
        validator_nonce=number,
        order=order,
        order_signature=await payer.sign_typed_data(contract.domain, typed_data.order(order)),
        spec=SPEC,
        base_model=BASE_MODEL,
        miner_url=miner_url,
    )
