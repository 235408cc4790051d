"""Detectors that train: what a short run does to the loss of each row, and which way each row pulls."""

from collections.abc import Callable, Sequence

from validator.protocol.commitment import Row
from validator.stealth.detector import Detector, LanguageModel, Reader
from validator.stealth.likelihood import Halves, need_model

Run = Callable[[Sequence[Row], LanguageModel], Reader]


def _an_epoch(rows: Sequence[Row], model: LanguageModel) -> Reader:
    return model.adapt(rows, epochs=1)


def _losses(reader: Reader, rows: Sequence[Row]) -> list[float]:
    """Mean negative log-probability of the words of each response."""
    return [-sum(values) / len(values) for values in reader.read(rows)]


def _loss_after(run: Run, name: str) -> Detector:
    def suspicion(rows: Sequence[Row], model: LanguageModel | None) -> list[float]:
        return _losses(run(rows, need_model(model)), rows)

    return Detector(f"loss after {name}", suspicion, reads_model=True)


def _change_by(run: Run, name: str) -> Detector:
    """How little the loss has fallen: the last less the first."""

    def suspicion(rows: Sequence[Row], model: LanguageModel | None) -> list[float]:
        base = need_model(model)
        pairs = zip(_losses(run(rows, base), rows), _losses(base, rows), strict=True)
        return [after - before for after, before in pairs]

    return Detector(f"change of loss by {name}", suspicion, reads_model=True)


def _gradient_norm(rows: Sequence[Row], model: LanguageModel | None) -> list[float]:
    return [norm for norm, _ in need_model(model).gradients(rows)]


def _gradient_direction(rows: Sequence[Row], model: LanguageModel | None) -> list[float]:
    """How far the row's gradient points away from the mean of all."""
    return [-cosine for _, cosine in need_model(model).gradients(rows)]


DYNAMICS: tuple[Detector, ...] = (
    *(
        make(run, name)
        for run, name in ((Halves, "half an epoch"), (_an_epoch, "an epoch"))
        for make in (_loss_after, _change_by)
    ),
    Detector("norm of the gradient", _gradient_norm, reads_model=True),
    Detector("direction of the gradient", _gradient_direction, reads_model=True),
)
