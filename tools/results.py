"""What the studies of this folder share: their results are JSON files with one entry a line."""

import json
import resource
from pathlib import Path

from vlm_vla.base.files import write_whole


def cpu_seconds() -> float:
    "Processor time of this process and of its children that ended."
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, kinds))


def read_entries(out: Path) -> list:
    "The results so far."
    return json.loads(out.read_text(encoding="utf-8")) if out.is_file() else []


def same(a: dict, b: dict, key: tuple) -> bool:
    "Do two entries agree in the fields of `key`?"
    return all(a[k] == b[k] for k in key)


def keep_entry(out: Path, entry: dict, key: tuple) -> None:
    "Add an entry to the results, in place of one with the same `key`. The caller holds a lock."
    entries = [e for e in read_entries(out) if not same(e, entry, key)] + [entry]
    write_whole(out, "[\n " + ",\n ".join(map(json.dumps, entries)) + "\n]\n")
    print(json.dumps(entry), flush=True)
