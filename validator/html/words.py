"""Figures as people read them."""


def say_share(share: float) -> str:
    """A share as whole per cents, and never 0% or 100% for what is not exactly that."""
    if 0 < share < 0.005:
        return "<1%"
    if 0.995 <= share < 1:
        return ">99%"
    return f"{share:.0%}"


def say_position(share: float) -> str:
    """A coordinate or a length in an SVG, which needs no more digits."""
    return f"{100 * share:.4g}%"
