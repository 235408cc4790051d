"""`touchstone plan`, from options to exit status."""

from pathlib import Path

from rich.console import Console

from validator.design.choosing import apply_reference
from validator.design.design import make_design
from validator.design.options import DesignOptions
from validator.design.report import print_design, to_json
from validator.files import check_writable
from validator.terminal import STANDARD_OUTPUT, write_json


def run_plan(options: DesignOptions, reference: Path | None, json_file: Path | None) -> bool:
    """Whether the design is sound: it keeps the rates that were asked for, and no listed cheat pays."""
    if json_file not in (None, STANDARD_OUTPUT):
        check_writable(json_file)
    if reference is not None:
        options = apply_reference(options, reference)
    design = make_design(options)
    if json_file != STANDARD_OUTPUT:
        print_design(Console(highlight=False, markup=False), design)
    if json_file is not None:
        write_json(json_file, to_json(design))
    return not design.refusals
