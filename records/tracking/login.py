"""W&B mode and credentials."""

import netrc
import os
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import wandb

from configs.errors import UserError
from configs.schema import Experiment, ModelStudy

LOG_IN = "run  wandb login, or set WANDB_API_KEY"
Mode = Literal["online", "offline", "disabled"]
WANDB_MODES: dict[str, Mode] = {  # the values of WANDB_MODE
    "online": "online",
    "offline": "offline",
    "disabled": "disabled",
    "shared": "online",
    "run": "online",  # the former names
    "dryrun": "offline",
}


def resolved_mode(experiment: Experiment | ModelStudy) -> Mode:
    """Return the mode of an experiment's runs; "auto" is WANDB_MODE, else online if credentials exist.

    Raises UserError if WANDB_MODE is unknown.
    """
    if experiment.wandb.mode != "auto":
        return experiment.wandb.mode
    mode = os.environ.get("WANDB_MODE")
    if not mode:
        return "online" if logged_in() else "offline"
    if mode not in WANDB_MODES:
        raise UserError(f"WANDB_MODE={mode} is unknown; set it to online, offline or disabled, or unset it")
    return WANDB_MODES[mode]


def logged_in() -> bool:
    """Return whether W&B credentials are available, without prompting."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        server = os.environ.get("WANDB_BASE_URL") or setup().settings.base_url
    except Exception:  # of many types, for settings that W&B rejects
        return False
    hosts = {urlsplit(server).netloc}
    if server == wandb.Settings().base_url:
        hosts.add("api.wandb.ai")  # the host in logins by clients before 0.31, which are still valid
    try:
        logins = netrc.netrc(os.environ.get("NETRC", Path.home() / ".netrc"))
    except (OSError, netrc.NetrcParseError):
        return False
    return any(logins.authenticators(host) for host in hosts)


def setup() -> Any:
    """Set up W&B in this process with its own service, and return W&B's singleton.

    WANDB_SERVICE names the service of the parent process. That service may run on another machine, or may consider a
    run of a killed process still open.
    """
    os.environ.pop("WANDB_SERVICE", None)
    return wandb.setup(wandb.Settings(silent=True))
