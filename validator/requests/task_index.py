"""The tasks of one moment by what they serve: which request, which dataset. Made anew for each look."""

from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property

from validator.protocol.state import Phase, TaskState
from validator.requests.dataset_store import DatasetKey
from validator.types import Hash32


class TaskIndex:
    """Lists are in the order in which the tasks were planned."""

    def __init__(self, states: Iterable[TaskState]) -> None:
        self._of_request: dict[Hash32, list[TaskState]] = defaultdict(list)
        self._of_dataset: dict[DatasetKey, list[TaskState]] = defaultdict(list)
        for state in sorted(states, key=lambda state: state.planned.validator_nonce):
            self._of_request[state.planned.request_id].append(state)
            self._of_dataset[dataset_of_task(state)].append(state)

    def of_request(self, request_id: Hash32) -> list[TaskState]:
        return self._of_request.get(request_id, [])

    def of_dataset(self, key: DatasetKey) -> list[TaskState]:
        return self._of_dataset.get(key, [])

    @cached_property
    def public_datasets(self) -> frozenset[DatasetKey]:
        """Those whose marked rows are public, or known to a miner that may have been probed for them."""
        return frozenset(key for key, tasks in self._of_dataset.items() if any(map(_is_public, tasks)))


def dataset_of_task(state: TaskState) -> DatasetKey:
    return DatasetKey(state.terms.payer, state.planned.order.source_data_hash)


def _is_public(task: TaskState) -> bool:
    return task.hits is not None or (task.phase is Phase.CLOSED and task.model_hash is not None)
