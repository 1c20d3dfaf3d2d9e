#!/usr/bin/env python3
"""The cell that installs vlm_vla on Kaggle or Colab, the same in every notebook that people run
there.

python tools/install_cell.py           put it into the notebooks, or bring it up to date
python tools/install_cell.py --check   exit 1 if it is missing or differs somewhere
"""

import hashlib
import json
import sys
from pathlib import Path

NBS = Path(__file__).resolve().parent.parent / "nbs"
NOTEBOOKS = [
    "00_config",
    "01_dataset",
    "02_model",
    "03_train",
    "04_eval",
    "05_agent",
    "tutorials/kaggle",
    "tutorials/own_data",
    "tutorials/extend",
    "tutorials/report",
    "zh/quickstart",
]
FIRST = (
    "# Installs vlm_vla where it is missing (Kaggle, Colab); what is there already, torch above"
    " all, stays as it is."
)
CELL = f"""#| hide
#| eval: false
{FIRST}
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path


def install_vlm_vla():
    if importlib.util.find_spec("vlm_vla"):
        return

    def plain(name):
        return re.sub("[-_.]+", "_", name).lower()

    there = {{
        plain(d.metadata["Name"]): d.version
        for d in reversed(list(distributions()))
        if d.metadata["Name"]
    }}
    inputs = Path(os.environ.get("VLM_VLA_KAGGLE_ROOT", "/kaggle")) / "input"
    own = [w for depth in range(1, 6) for w in sorted(inputs.glob("*/" * depth + "vlm_vla-*.whl"))]
    if own:  # an attached folder of wheels: take those that are missing, without asking the network
        what = [
            "--no-index",
            "--no-deps",
            *(
                str(w)
                for w in sorted(own[-1].parent.glob("*.whl"))
                if plain(w.name.split("-")[0]) not in there
            ),
        ]
    else:  # the repository (there is no release on the package index yet); what must not be exchanged is held where it is
        keep = Path(tempfile.mkdtemp()) / "keep.txt"
        keep.write_text(
            "\\n".join(
                f"{{n}}=={{there[n]}}"
                for n in ("torch", "torchvision", "torchaudio", "transformers", "numpy")
                if n in there
            )
        )
        what = ["--constraint", str(keep), "git+https://github.com/vlm-vla/vlm_vla"]
    done = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *what])
    if done.returncode:
        raise SystemExit(
            "vlm_vla could not be installed: switch the Internet on in the notebook's settings, or attach a folder of wheels (page 'Without a network')"
        )
    importlib.invalidate_caches()


install_vlm_vla()"""


def with_cell(cells):
    "The cells with the install cell behind the title."
    cells = [c for c in cells if FIRST not in "".join(c["source"])]
    title = next(
        (
            i
            for i, c in enumerate(cells)
            if c["cell_type"] == "markdown" and "".join(c["source"]).lstrip().startswith("# ")
        ),
        0,
    )
    new = dict(
        cell_type="code",
        execution_count=None,
        id=hashlib.sha1(CELL.encode()).hexdigest()[:8],
        metadata={},
        outputs=[],
        source=CELL.splitlines(keepends=True),
    )
    return cells[: title + 1] + [new] + cells[title + 1 :]


def main():
    stale = []
    for name in NOTEBOOKS:
        file = NBS / f"{name}.ipynb"
        if not file.is_file():
            continue
        notebook = json.loads(file.read_text(encoding="utf-8"))
        cells = with_cell(notebook["cells"])
        if [c["source"] for c in cells] == [c["source"] for c in notebook["cells"]]:
            continue
        stale.append(name)
        if "--check" not in sys.argv[1:]:
            notebook["cells"] = cells
            file.write_text(
                json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n",
                encoding="utf-8",
            )
    if stale:
        print(
            (
                "without the present install cell, run tools/install_cell.py: "
                if "--check" in sys.argv[1:]
                else "install cell written: "
            )
            + ", ".join(stale)
        )
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
