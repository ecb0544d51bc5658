"""End of every page: the full configuration and the versions of the libraries."""

from analyze.report.page.blocks import Listing, Section
from configs.load import to_yaml
from configs.schema import Experiment, ModelStudy
from records.provenance import versions


def settings_section(study: Experiment | ModelStudy) -> Section:
    return Section("settings", "Settings", [Listing("Full configuration", to_yaml(study))])


def footer() -> str:
    """Return the versions of the libraries."""
    return " · ".join(f"{name} {version}" for name, version in versions().items())
