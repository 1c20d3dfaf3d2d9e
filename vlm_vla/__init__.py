"Told what changed between two satellite images, point the camera there."

import logging
from importlib import import_module

__version__ = "0.1.0"

# What a user needs, by the module that holds it. Imported when first asked for (PEP 562), since
# torch and transformers take seconds.
_HOME = {
    "Config": "config",
    "make_dataset": "data.synthetic",
    "make_tiny_models": "nets.tiny",
    "open_pairs": "data.sources",
    "LevirCCActionDataset": "dataset",
    "create_dataloaders": "dataset",
    "VLM_ActionAgent": "model",
    "create_model": "model",
    "Trainer": "train",
    "evaluate": "eval",
    "ChangeAgent": "agent",
    "Action": "agent",
}
__all__ = list(_HOME)


def __getattr__(name):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__():
    return sorted([*globals(), *_HOME])


# bitsandbytes says of an optional kernel for CPUs that it "failed to load", which reads like an
# error of ours.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
