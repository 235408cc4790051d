"""Planting where model work runs: the generator's libraries are large, and needed only for this.

Rule kept: what leaves this process is one dataset and its own secrets, never the master seed.
"""

from collections.abc import Sequence

from validator.child_processes import JobLimits
from validator.errors import BadInput
from validator.marks.openings import OpeningProposer, OpeningsAlone
from validator.marks.planting import PlantedDataset, check_learnable, hash_source_data, plant
from validator.marks.schemes import OpeningCanary, Scheme
from validator.marks.secrets import DatasetSecrets, Secrets
from validator.model_work import ModelWork
from validator.protocol.commitment import Row
from validator.types import Address

LIMITS = JobLimits(wall_s=3600.0)


async def plant_in(
    work: ModelWork,
    model: str | None,
    rows: Sequence[Row],
    scheme: Scheme,
    n: int,
    secrets: Secrets,
    payer: Address,
    max_length: int,
    *,
    context_tokens: int = 0,
    openings: OpeningProposer | None = None,
) -> PlantedDataset:
    """Mark n rows with what `model` proposes, or `openings` alone where the scheme draws whole ones.

    BadInput if there is no model, or it reads less than `context_tokens`, as `plant` otherwise.
    """
    check_learnable(rows, scheme, n)
    of_dataset = secrets.of_dataset(payer, hash_source_data(rows), scheme.name, n, scheme.w)
    return await work.run(
        _plant, model, rows, scheme, n, of_dataset, payer, max_length, context_tokens, openings, limits=LIMITS
    )


def _plant(
    model: str | None,
    rows: Sequence[Row],
    scheme: Scheme,
    n: int,
    secrets: DatasetSecrets,
    payer: Address,
    max_length: int,
    context_tokens: int,
    openings: OpeningProposer | None,
) -> PlantedDataset:
    if openings and isinstance(scheme, OpeningCanary):
        alone = OpeningsAlone(openings)
        return plant(rows, scheme, n, secrets=secrets, payer=payer, scorer=alone, max_length=max_length)
    if model is None:
        raise BadInput(f"the scheme {scheme.name} draws words with a language model: set generator.model")
    from validator.edges.generator import LocalScorer

    scorer = LocalScorer(model)
    if scorer.context_tokens < context_tokens:
        raise BadInput(f"{model} reads at most {scorer.context_tokens} tokens, the spec trains on {context_tokens}")
    return plant(rows, scheme, n, secrets=secrets, payer=payer, scorer=scorer, max_length=max_length)
