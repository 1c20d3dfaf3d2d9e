import logging

__version__ = "0.1.0"

logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)      # its first import says of an optional kernel for CPUs that it "failed to load", which reads like an error of ours
