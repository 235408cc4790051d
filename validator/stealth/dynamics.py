"""Detectors that train: what a short run does to the loss of each row, and which way each row pulls."""

from collections.abc import Callable, Sequence

from validator.protocol.commitment import Row
from validator.stealth.detector import Detector, LanguageModel, Reader
from validator.stealth.likelihood import Halves, need_model

_EPOCHS = 1


def _losses(reader: Reader, rows: Sequence[Row]) -> list[float]:
    """Mean negative log-probability of the words of each response."""
    return [-sum(values) / len(values) for values in reader.read(rows)]


def _half_an_epoch(rows: Sequence[Row], model: LanguageModel) -> Reader:
    """Each row as seen after one pass over the half of the rows that it is not in."""
    return Halves(rows, model, _EPOCHS)


def _an_epoch(rows: Sequence[Row], model: LanguageModel) -> Reader:
    return model.adapt(rows, epochs=_EPOCHS)


def _loss_after(run: Callable[[Sequence[Row], LanguageModel], Reader], name: str) -> Detector:
    def suspicion(rows: Sequence[Row], model: LanguageModel | None) -> list[float]:
        return _losses(run(rows, need_model(model)), rows)

    return Detector(f"loss after {name}", suspicion, reads_model=True)


def _gain_of(run: Callable[[Sequence[Row], LanguageModel], Reader], name: str) -> Detector:
    """How little the loss has fallen: the change, last less first."""

    def suspicion(rows: Sequence[Row], model: LanguageModel | None) -> list[float]:
        model = need_model(model)
        pairs = zip(_losses(run(rows, model), rows), _losses(model, rows), strict=True)
        return [after - before for after, before in pairs]

    return Detector(f"change of loss by {name}", suspicion, reads_model=True)


def _gradient_norm(rows: Sequence[Row], model: LanguageModel | None) -> list[float]:
    return [norm for norm, _ in need_model(model).gradients(rows)]


def _gradient_direction(rows: Sequence[Row], model: LanguageModel | None) -> list[float]:
    """How far the row's gradient points away from the mean of all."""
    return [-cosine for _, cosine in need_model(model).gradients(rows)]


DYNAMICS: tuple[Detector, ...] = (
    _loss_after(_half_an_epoch, "half an epoch"),
    _gain_of(_half_an_epoch, "half an epoch"),
    _loss_after(_an_epoch, "an epoch"),
    _gain_of(_an_epoch, "an epoch"),
    Detector("norm of the gradient", _gradient_norm, reads_model=True),
    Detector("direction of the gradient", _gradient_direction, reads_model=True),
)
