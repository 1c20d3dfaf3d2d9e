"""The mutations of `fuzz.py`, by kind."""

from . import agents, annotations, pictures, rowmasks, stores
from .world import MUTATIONS, Case, World, judge
